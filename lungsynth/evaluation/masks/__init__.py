"""Masks of real films against expert masks."""
