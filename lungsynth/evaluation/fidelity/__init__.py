"""How far pictures are from real films as a set."""
