"""CDMAD: what the network says of a blank image is its class bias, and is subtracted."""
