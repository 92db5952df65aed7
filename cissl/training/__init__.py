"""One trial's training: the loop, its numbers, its checkpoints and records. Knows nothing of Ray."""
