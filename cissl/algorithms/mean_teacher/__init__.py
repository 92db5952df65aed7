"""Mean Teacher: the averaged network's prediction is what the network's own shall be."""
