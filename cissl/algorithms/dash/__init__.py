"""Dash: pseudo-labels count whose loss is below a threshold that falls with time."""
