"""What data modules are made of: order, splits, decoding, prepared files."""
