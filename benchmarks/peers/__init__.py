"""Other projects' code beside this trainer: the same work in one process, in turn."""
