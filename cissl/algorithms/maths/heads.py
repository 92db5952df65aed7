"""Extra heads on a network's features."""

from torch import nn


def xavier_linear(width: int, classes: int) -> nn.Linear:
    """A classifier, features (n, width) → logits (n, classes), with Xavier normal weights and bias 0."""
    head = nn.Linear(width, classes)
    nn.init.xavier_normal_(head.weight)
    nn.init.zeros_(head.bias)
    return head
