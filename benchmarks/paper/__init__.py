"""Reproduce the tables and figures of "Gradient Reweighting: Towards Imbalanced CIL" (CVPR 2024)."""
