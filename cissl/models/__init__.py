"""Backbones: float images in [-1, 1] of shape (N, C, H, W) → logits (N, classes)."""
