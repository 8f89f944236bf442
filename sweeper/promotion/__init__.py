"""Promote the best of a sweep: candidates on fresh seeds, paired intervals, the decision."""
