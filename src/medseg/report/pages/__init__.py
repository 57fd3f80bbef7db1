"""Pages that are one file: of an evaluation, a training, a case, a comparison."""
