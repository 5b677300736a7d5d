"""What the film check learns from, and how."""
