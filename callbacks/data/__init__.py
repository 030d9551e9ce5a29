"""Tricks that change the batch."""
