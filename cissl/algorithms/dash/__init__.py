"""Dash: a pseudo-label counts if its loss is below a threshold that falls during the training."""
