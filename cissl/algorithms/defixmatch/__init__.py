"""DeFixMatch: FixMatch's unlabeled loss is also computed on the labeled images, and subtracted."""
