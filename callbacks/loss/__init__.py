"""Change the loss: replace it, or add a term."""
