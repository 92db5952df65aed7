"""The methods: FixMatch and the paper's three additions, as pure functions of tensors."""

from cissl.algorithms.fixmatch import labeled_loss
from cissl.algorithms.losses import Losses, LossOptions, compute_losses
from cissl.algorithms.names import ALGORITHMS, Algorithm, from_switches, parse_algorithm

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "LossOptions",
    "Losses",
    "compute_losses",
    "from_switches",
    "labeled_loss",
    "parse_algorithm",
]
