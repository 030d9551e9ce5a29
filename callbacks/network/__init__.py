"""Tricks that change the network before training."""
