"""Callbacks that look and change nothing."""
