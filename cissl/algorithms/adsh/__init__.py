"""Adsh: one confidence threshold for each class, so that every class keeps the same share of its predictions."""
