"""Damaged inputs through the command line (see `__main__`)."""
