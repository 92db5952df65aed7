"""ADELLO: FixMatch whose losses are adjusted towards a class distribution that becomes uniform during the training."""
