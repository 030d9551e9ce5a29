"""Change optimizer steps, learning rates and weights."""
