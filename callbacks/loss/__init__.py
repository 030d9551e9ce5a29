"""Tricks that change the loss."""
