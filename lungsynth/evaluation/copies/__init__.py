"""Whether pictures are copies of training films."""
