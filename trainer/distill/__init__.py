"""Distillations, one a file: losses that keep a student near its teacher on the old classes."""
