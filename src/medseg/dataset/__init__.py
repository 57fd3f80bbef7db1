"""What we have, and what follows from it: description, fingerprint, plan, store."""
