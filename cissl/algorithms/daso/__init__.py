"""DASO: pseudo-labels blend a linear classifier and one of class prototypes, which counts more for frequent classes."""
