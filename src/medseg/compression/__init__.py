"""Making a bundle small and fast, with what it costs written beside it."""
