"""A recipe drafted from data."""
