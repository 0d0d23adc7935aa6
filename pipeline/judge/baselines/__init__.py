"""Cheap opponents on the same rows: what a model must beat to be worth its training."""
