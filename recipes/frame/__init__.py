"""Base classes and functions of recipes: `Recipe`, records, tables."""
