"""DebiasPL: the running mean prediction is divided out of pseudo-labels, and is a margin in their loss."""
