"""Spatial alignment: resampling onto a spacing, a grid or another volume."""
