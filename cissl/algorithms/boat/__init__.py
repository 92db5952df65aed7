"""BOAT: ACR's two heads, adjusted by two running class priors in place of anchors."""
