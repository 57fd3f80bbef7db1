"""The door for hospitals: a study comes in, a DICOM-SEG goes where it belongs, nothing is lost."""

DATABASE_VARIABLE = "MEDSEG_DATABASE_URL"
"""Holds the database's address for those who would not have its password in a command."""
