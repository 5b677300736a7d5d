"""The Hub: reading, pushing, verifying; what is pushed."""
