"""The door for hospitals: a study comes in, a DICOM-SEG goes where it belongs, nothing is lost."""
