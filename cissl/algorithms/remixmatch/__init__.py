"""ReMixMatch: MixMatch with strong views, aligned guesses and a head that tells rotations apart."""
