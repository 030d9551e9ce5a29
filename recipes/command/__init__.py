"""The command line `zoo`."""
