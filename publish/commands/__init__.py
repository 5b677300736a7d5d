"""Commands of `python -m publish`."""
