"""Judging and showing: scores, pictures and pages."""
