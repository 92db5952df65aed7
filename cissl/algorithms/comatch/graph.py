"""The two graphs that CoMatch compares (Li et al., 2021, sections 3.2 and 3.3).

Notation: U unlabeled rows; C classes; g embeddings of length 1, (n, d); K rows of the memory, F its embeddings, (K, d),
and Y their class probabilities, (K, C), zeros in unused rows; P pseudo-labels, (U, C).
"""

import torch
from torch import Tensor

SMALL = 1e-7


def remembered(vectors: Tensor, memory: Tensor, memory_classes: Tensor, temperature: float) -> Tensor:
    """softmax(g · F / temperature) · Y, (U, C): the classes of similar rows of the memory. Unused rows have similarity
    0.

    Args:
        vectors: g of the weak views, (U, d).
        memory: F, (K, d).
        memory_classes: Y, (K, C).
        temperature: temperature of the softmax.
    """
    return (vectors @ memory.T / temperature).softmax(1) @ memory_classes


def links(probabilities: Tensor, threshold: float) -> Tensor:
    """P Pᵀ with a diagonal of 1, where entries below the threshold are set to 0; (U, U).

    Args:
        probabilities: P, (U, C).
        threshold: the smallest entry that is not set to 0.
    """
    agreement = probabilities @ probabilities.T
    itself = torch.eye(len(agreement), dtype=torch.bool, device=agreement.device)
    agreement = torch.where(itself, 1.0, agreement)
    return torch.where(agreement >= threshold, agreement, 0.0)


def contrast_loss(first: Tensor, second: Tensor, graph: Tensor, temperature: float) -> Tensor:
    """The mean over u of −Σ_j W_uj log(softmax(g_u · g'_j / temperature) + 1e-7), scalar. The gradient reaches both
    views.

    Args:
        first, second: g and g' of the two strong views, (U, d).
        graph: the result of `links`, (U, U). W is this graph with rows that sum to 1.
        temperature: temperature of the softmax.
    """
    weights = graph / graph.sum(1, keepdim=True)
    similarity = (first @ second.T / temperature).softmax(1)
    return -(weights * (similarity + SMALL).log()).sum(1).mean()
