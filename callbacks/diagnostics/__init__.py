"""Watch a run and report what is wrong; change nothing."""
