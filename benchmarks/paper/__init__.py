"""The tables and figures of "Gradient Reweighting: Towards Imbalanced Class-Incremental Learning" (CVPR 2024), run."""
