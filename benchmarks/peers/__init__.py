"""Other codebases, compared with this trainer on the same work in one process."""
