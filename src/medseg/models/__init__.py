"""Bundles in the box: data, not code."""
