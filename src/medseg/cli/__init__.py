"""The door for people: one file for each command."""
