"""ReMixMatch: MixMatch with strong views, aligned guesses and a head that recognises rotations."""
