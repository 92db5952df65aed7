"""SoftMatch: every pseudo-label counts, the less confident the less."""
