"""ACR: two heads, and pseudo-labels adjusted by how far the unlabeled classes are from the labeled ones."""
