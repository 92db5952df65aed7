"""CoSSL: a second head learns from balanced batches with mixed features of rare classes. It makes the pseudo-labels."""
