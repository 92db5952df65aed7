"""FreeMatch: thresholds that rise with the network's own confidence, and a term for fairness between classes."""
