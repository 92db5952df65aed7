"""DARP: the pseudo-labels of all unlabeled images are refined together until their classes have the assumed counts."""
