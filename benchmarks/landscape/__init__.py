"""CIL-Bench: how systems respond to their hyperparameters, as one table that searches are replayed on."""
