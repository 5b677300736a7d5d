"""Measured figures as pages and tables."""
