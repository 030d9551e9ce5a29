"""Tricks that change steps, rates and weights."""
