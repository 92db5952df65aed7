"""What happened since the last evaluation, counted on the device so that no step waits for it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cissl.algorithms.contract import Losses

NAMES = ("loss", "loss_labeled", "loss_unlabeled", "mask_ratio")


class Interval:
    """Means over steps, and pseudo-labels counted by class.

    Of each class it counts the pseudo-labels kept and how many of them were right. The latter needs the unlabeled
    images' true labels: it explains a result and takes no part in it.

    Args:
        classes: C.
        device: where the losses are.
    """

    def __init__(self, classes: int, device: torch.device):
        self._device = device
        self._sums = torch.zeros(len(NAMES), dtype=torch.float64, device=device)
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

    def close(self) -> tuple[dict[str, float], dict[str, list[float]], dict[str, Any]]:
        """A new beginning.

        Returns:
            The means of the losses; pseudo-labels by class; the means of named terms and of what a method measured.
        """
        steps = max(self._steps, 1)
        means = (self._sums / steps).tolist()
        kept, correct = ([_whole(count) for count in row] for row in self._pseudo_labels.tolist())
        details = {
            "terms": {name: (total / steps).item() for name, total in self._terms.items()},
            "measured": {name: (total / steps).tolist() for name, total in self._measured.items()},
        }
        self._sums.zero_()
        self._pseudo_labels.zero_()
        self._terms, self._measured = {}, {}
        self._steps = 0
        return (
            dict(zip(NAMES, means, strict=True)),
            {"pseudo_kept": kept, "pseudo_correct": correct},
            {name: values for name, values in details.items() if values},
        )

    def _tensor(self, value: float | Tensor) -> Tensor:
        """A number as a tensor on the device, which is not waited for."""
        return value if isinstance(value, Tensor) else torch.full((), value, dtype=torch.float64, device=self._device)

    def state_dict(self) -> dict[str, Any]:
        """The counts so far, copied."""
        return {
            "sums": self._sums.clone(),
            "pseudo_labels": self._pseudo_labels.clone(),
            "steps": self._steps,
            "terms": dict(self._terms),
            "measured": dict(self._measured),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`'s counts; those of the first version have no terms."""
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
