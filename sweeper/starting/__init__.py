"""What ``cil init`` writes for images of one's own: they are looked at, and the rest is picked for them."""
