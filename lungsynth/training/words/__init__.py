"""What makes words act: one file a trick, each switched on by an option of the run."""
