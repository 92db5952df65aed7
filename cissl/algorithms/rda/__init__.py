"""RDA: two heads, one of which learns what an image is not. Each is aligned with the complement of the other."""
