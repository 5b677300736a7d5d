"""What a checkpoint says about itself: what it was made from, and what was measured of it."""
