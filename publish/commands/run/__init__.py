"""What the commands of `python -m publish` do."""
