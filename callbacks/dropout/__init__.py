"""Drop hidden features: units, channels, squares, weights, heads or patches."""
