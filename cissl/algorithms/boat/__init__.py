"""BOAT: ACR's two heads, adjusted by two running class priors instead of anchors."""
