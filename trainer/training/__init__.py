"""How members are trained: the session, the one epoch loop, checkpoints, observers."""
