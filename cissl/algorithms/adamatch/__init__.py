"""AdaMatch: predictions aligned with labeled ones, a relative threshold, labeled logits of two passes."""
