"""Metrics: arrays and a spacing in, numbers out."""
