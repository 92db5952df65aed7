"""AdaMatch: predictions are aligned with those on labeled images, and the threshold is relative to their confidence."""
