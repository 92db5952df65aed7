"""CoMatch: pseudo-labels make a graph of images, and the embeddings of strong views follow this graph."""
