"""CReST and CReST+: trainings one after the other, each with more pseudo-labeled images of rare classes."""
