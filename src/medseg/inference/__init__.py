"""Using a bundle: a volume in, a label map out."""
