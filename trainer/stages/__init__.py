"""What a method and the training loop hand to each other: stages, steps, exemplars."""
