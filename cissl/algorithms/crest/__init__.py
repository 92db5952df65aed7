"""CReST and CReST+: several trainings in a row, each with more pseudo-labeled images of rare classes."""
