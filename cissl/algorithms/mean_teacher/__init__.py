"""Mean Teacher: the network's predictions follow those of the averaged network."""
