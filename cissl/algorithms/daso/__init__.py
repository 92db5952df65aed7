"""DASO: predictions are blended with those of a classifier of prototypes, the more so for frequent classes."""
