"""SoftMatch: every pseudo-label counts, with a weight that falls with its confidence."""
