"""Π-Model: two weak views of an image get the same prediction."""
