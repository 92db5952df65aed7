"""Figures of the steps since the last evaluation, summed on the device so that no step waits for them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cissl.algorithms.contract import Losses
from cissl.record_format import LossFigures, MethodFigures, PseudoLabelFigures

LOSSES = 4  # the losses' figures, see `LossFigures`


class Interval:
    """Sums of figures over the steps since the last evaluation, and pseudo-labels counted by class.

    For each class it counts the pseudo-labels that were kept, and how many of these were right. The latter needs the
    unlabeled images' true labels: it helps to explain a result, and no method can see it.

    Args:
        classes: C.
        device: where the losses are.
    """

    def __init__(self, classes: int, device: torch.device):
        self._device = device
        self._sums = torch.zeros(LOSSES, dtype=torch.float64, device=device)
        self._terms: dict[str, Tensor] = {}
        self._measured: dict[str, Tensor] = {}
        self._pseudo_labels = torch.zeros(2, classes, dtype=torch.float64, device=device)  # kept, correct
        self._steps = 0

    @torch.no_grad()
    def add(self, losses: Losses, true_labels: Tensor | None = None) -> None:
        """Count one step.

        Args:
            losses: the step's.
            true_labels: those of the unlabeled batch, (U,) int64, −1 where unknown.
        """
        zero = losses.total.new_zeros(())
        pseudo = losses.pseudo
        mask_ratio = zero if pseudo is None else pseudo.weights.double().mean()
        unlabeled = losses.unlabeled.get("unlabeled", zero)
        self._sums += torch.stack([losses.total, losses.labeled_sum, unlabeled, mask_ratio]).double()
        _accumulate(self._terms, {**losses.labeled, **losses.unlabeled})
        _accumulate(self._measured, {name: self._tensor(value) for name, value in losses.measured.items()})
        if pseudo is not None and true_labels is not None:
            kept = pseudo.weights * (true_labels >= 0)  # an unknown label could not be right
            counts = torch.stack([kept, kept * (pseudo.classes == true_labels)]).double()
            self._pseudo_labels.index_add_(1, pseudo.classes, counts)
        self._steps += 1

    def close(self) -> tuple[LossFigures, PseudoLabelFigures, MethodFigures]:
        """End the interval and start the next one at zero.

        Returns:
            Means of the losses; pseudo-labels by class; means of named terms and of what the method measured.
        """
        steps = max(self._steps, 1)
        loss, labeled, unlabeled, mask_ratio = (self._sums / steps).tolist()
        kept, correct = ([_whole(count) for count in row] for row in self._pseudo_labels.tolist())
        details = MethodFigures()
        if self._terms:
            details["terms"] = {name: (total / steps).item() for name, total in self._terms.items()}
        if self._measured:
            details["measured"] = {name: (total / steps).tolist() for name, total in self._measured.items()}
        self._sums.zero_()
        self._pseudo_labels.zero_()
        self._terms, self._measured = {}, {}
        self._steps = 0
        losses: LossFigures = {
            "loss": loss,
            "loss_labeled": labeled,
            "loss_unlabeled": unlabeled,
            "mask_ratio": mask_ratio,
        }
        return losses, {"pseudo_kept": kept, "pseudo_correct": correct}, details

    def _tensor(self, value: float | Tensor) -> Tensor:
        """A number as a tensor on the device; nothing waits for the copy."""
        return value if isinstance(value, Tensor) else torch.full((), value, dtype=torch.float64, device=self._device)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the sums so far."""
        return {
            "sums": self._sums.clone(),
            "pseudo_labels": self._pseudo_labels.clone(),
            "steps": self._steps,
            "terms": dict(self._terms),
            "measured": dict(self._measured),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the sums of `state_dict`; those of the first version have no terms."""
        self._sums.copy_(state["sums"])
        self._pseudo_labels.copy_(state["pseudo_labels"])
        self._steps = state["steps"]
        self._terms, self._measured = (
            {name: total.to(self._device) for name, total in state.get(key, {}).items()}
            for key in ("terms", "measured")
        )


def _accumulate(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Add to the sums by name, on the device; a term that a step lacks counts as 0 there."""
    for name, value in values.items():
        value = value.detach().double()
        sums[name] = sums[name] + value if name in sums else value


def _whole(count: float) -> float:
    return int(count) if count.is_integer() else count
