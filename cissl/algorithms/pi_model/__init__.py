"""Π-Model: two weak views of an image shall be predicted alike."""
