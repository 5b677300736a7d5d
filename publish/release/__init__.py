"""Versions: what changed since the last release, and the next one."""
