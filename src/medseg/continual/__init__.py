"""Staying right: versions of the data, drift, which case to label next, and a loop that closes."""
