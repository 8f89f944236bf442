"""Losses as functions of tensors, one a file."""
