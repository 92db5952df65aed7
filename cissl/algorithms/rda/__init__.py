"""RDA: two heads, one of which learns from what an image is not; each is aligned with the other's complement."""
