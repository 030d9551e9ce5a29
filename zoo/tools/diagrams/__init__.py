"""Draw networks: the block of a paper as its figures have it, the family of all models through the years."""
