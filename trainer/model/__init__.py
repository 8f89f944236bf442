"""A trained model: the file that holds it, what it predicts, how well, and its graph for other programs."""
