"""Augmentation: parameters are drawn first, then applied by a pure function."""
