"""Training on the labeled images alone."""
