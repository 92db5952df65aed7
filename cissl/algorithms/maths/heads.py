"""Further heads on a network's features."""

from torch import nn


def xavier_linear(width: int, classes: int) -> nn.Linear:
    """A classifier, features (n, width) → logits (n, classes), of Xavier normal weights and biases 0."""
    head = nn.Linear(width, classes)
    nn.init.xavier_normal_(head.weight)
    nn.init.zeros_(head.bias)
    return head
