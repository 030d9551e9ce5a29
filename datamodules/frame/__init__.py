"""Base classes and functions of data modules: order, splits, decoding, prepared files."""
