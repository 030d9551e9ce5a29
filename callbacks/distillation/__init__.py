"""Tricks that add a teacher's word."""
