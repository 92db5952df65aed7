"""FreeMatch: thresholds that rise with the network's own confidence, and a loss term for fairness between classes."""
