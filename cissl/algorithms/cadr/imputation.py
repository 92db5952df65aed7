"""Class-Aware Imputation, CAI (paper, section 3.2): rare classes get pseudo-labels at a lower confidence.

Notation: p̂' class prior after this step's update, (C,); τ confidence; β exponent.
"""

from torch import Tensor


def class_thresholds(class_prior: Tensor, *, confidence: float, beta: float) -> Tensor:
    """Threshold of each class, τ · (p̂'[c] / max p̂')^β, (C,).

    Args:
        class_prior: p̂', (C,).
        confidence: τ.
        beta: β.
    """
    return confidence * (class_prior / class_prior.max()) ** beta


def class_aware_mask(probabilities: Tensor, thresholds: Tensor) -> Tensor:
    """Whether the largest probability of a row is above the threshold of its predicted class, (N,) bool.

    Args:
        probabilities: (N, C).
        thresholds: (C,).
    """
    largest, predicted = probabilities.max(1)
    return largest > thresholds[predicted]
