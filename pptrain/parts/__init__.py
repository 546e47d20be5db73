"""Machinery that a family is built from, where it is longer than the family's chapter."""
