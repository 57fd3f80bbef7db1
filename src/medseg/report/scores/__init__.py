"""Scores of many cases: read, paired, summed up, compared, written."""
