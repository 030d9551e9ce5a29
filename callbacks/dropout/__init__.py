"""Tricks that drop hidden features: patches of a transformer's sequence, heads of its attention."""
