"""Published results that a small machine can try to reproduce: one file a row of a paper's table."""
