"""CoSSL: a second head learns from balanced batches with enhanced features of rare classes, and makes the labels."""
