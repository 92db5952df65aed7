"""CDMAD: the logits of a blank image measure the network's bias towards classes, and are subtracted."""
