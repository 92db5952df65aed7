"""CoMatch: pseudo-labels make a graph, and the vectors of strong views follow it."""
