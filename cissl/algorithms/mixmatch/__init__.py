"""MixMatch: weak views guess labels, and images are mixed with each other."""
