"""Volumes and I/O: a file becomes an array with its geometry."""
