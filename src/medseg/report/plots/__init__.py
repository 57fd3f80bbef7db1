"""Figures: slices with outlines, distributions, agreement, curves."""
