"""Fitting trust: which films and pictures, what is measured of them, the fit."""
