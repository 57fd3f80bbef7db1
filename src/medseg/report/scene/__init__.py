"""A case in space: surfaces, moving slices, one page or a still."""
