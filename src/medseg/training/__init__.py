"""Making a bundle: from a plan and preprocessed cases to weights."""
