"""Published results that a small machine can try to reproduce: one file for each row of a paper's table."""
