"""ADELLO: FixMatch whose losses are adjusted towards a class distribution that becomes even during the training."""
