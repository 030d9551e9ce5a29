"""Change the network before training."""
