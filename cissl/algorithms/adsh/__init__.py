"""Adsh: each class has its own confidence threshold, so that every class keeps the same share of its predictions."""
