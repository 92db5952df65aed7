"""MixMatch: guessed labels, and images mixed with one another."""
