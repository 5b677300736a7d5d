"""Segmentation models trained on synthetic pairs."""
