"""Judging drawn pictures by a network that measures nothing else, and drawing again what it rejects."""
