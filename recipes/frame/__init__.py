"""What recipes are made of: `Recipe`, records, tables."""
