"""TRAS's adjustments and its transfer between heads (Wei et al., 2022, and their program).

Notation: a = log(π^tro + 1e-12), where π are the class shares of the labeled images; A, B strengths; U rows, C classes;
h₁, h₂ logits of the two heads for n = views · U rows of strong views, one view below the other.
"""

from torch import Tensor

from cissl.algorithms.maths.alignment import normalised


def strengths(adjustment: Tensor, A: float, B: float) -> Tensor:
    """k = A · softmax(−a) + B, (C,). It is between B and A + B, and largest for the rarest class.

    Args:
        adjustment: a, (C,).
        A, B: see the notation.
    """
    return A * (-adjustment).softmax(0) + B


def adjusted(probabilities: Tensor, adjustment: Tensor) -> Tensor:
    """softmax(w − a) for probabilities softmax(w), (U, C) with their dtype.

    Args:
        probabilities: (U, C).
        adjustment: a, (C,) float64.
    """
    return normalised(probabilities * (-adjustment).exp()).to(probabilities.dtype)


def transfer_targets(first: Tensor, classes: Tensor, adjustment: Tensor, strength: Tensor) -> Tensor:
    """softmax((h₁ − k_l · a) / 2), (n, C) without gradient: the first head's prediction, shifted more if class l is
    rarer.

    Args:
        first: h₁, (n, C).
        classes: l, the second head's prediction on the weak views, (U,) int64.
        adjustment: a, (C,).
        strength: k, (C,).
    """
    shift = strength[classes][:, None] * adjustment
    shifted = first.detach() - shift.to(first.dtype).repeat(len(first) // len(classes), 1)
    return (shifted / 2).softmax(1)
