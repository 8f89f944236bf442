"""Whether a sweep's best is better than what is there: candidates on fresh seeds, paired intervals, the decision."""
