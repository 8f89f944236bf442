"""A sweep in the formats of other tools: a file each, and the trials that they are all made of."""
