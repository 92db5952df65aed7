"""TRAS's adjustments and its transfer between heads (Wei et al., 2022, and their program).

Notation: a = log(π^tro + 1e-12), π class shares of the labeled images; A, B strengths; U rows, C classes; h₁, h₂ logits
of the two heads on n = views · U rows of strong views, one view below the other.
"""

from torch import Tensor

from cissl.algorithms.maths.alignment import normalised


def strengths(adjustment: Tensor, A: float, B: float) -> Tensor:
    """k = A · softmax(−a) + B, (C,): between B and A + B, largest for the rarest class.

    Args:
        adjustment: a, (C,).
        A, B: see above.
    """
    return A * (-adjustment).softmax(0) + B


def adjusted(probabilities: Tensor, adjustment: Tensor) -> Tensor:
    """softmax(w − a) where the probabilities are softmax(w), (U, C) of their type.

    Args:
        probabilities: (U, C).
        adjustment: a, (C,) float64.
    """
    return normalised(probabilities * (-adjustment).exp()).to(probabilities.dtype)


def transfer_targets(first: Tensor, classes: Tensor, adjustment: Tensor, strength: Tensor) -> Tensor:
    """softmax((h₁ − k_l · a) / 2), (n, C), a constant: the first head's opinion, the more shifted the rarer class l is.

    Args:
        first: h₁, (n, C).
        classes: l, what the second head says of the weak views, (U,) int64.
        adjustment: a, (C,).
        strength: k, (C,).
    """
    shift = strength[classes][:, None] * adjustment
    shifted = first.detach() - shift.to(first.dtype).repeat(len(first) // len(classes), 1)
    return (shifted / 2).softmax(1)
