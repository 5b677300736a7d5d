"""Benchmarks: what the program costs, measured."""
