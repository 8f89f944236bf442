"""What a data set holds and what a run would make of it, found and shown before anything is trained."""
