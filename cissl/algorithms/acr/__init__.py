"""ACR: two heads whose pseudo-labels are adjusted by the estimated distance between unlabeled and labeled classes."""
