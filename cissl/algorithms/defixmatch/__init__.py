"""DeFixMatch: FixMatch's unlabeled loss is also taken of the labeled images, and subtracted."""
