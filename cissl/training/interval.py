"""Figures of the steps since the last evaluation, summed on the device so that no step waits for them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from cissl.algorithms.contract import Losses
from cissl.record_format import LossFigures, MethodFigures, PseudoLabelFigures

SUMS = ("loss", "loss_labeled", "loss_unlabeled", "mask_ratio")  # the losses' figures, see `LossFigures`
Key = tuple[str, str]  # kind of figure, ``"sums"``, ``"terms"`` or ``"measured"``, and its name


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
        self._zero = torch.zeros((), dtype=torch.float64, device=device)
        # The figures of the last step lie one after the other in one tensor, those that it lacked apart.
        self._shapes: dict[Key, torch.Size] = {}
        self._flat = self._zero.new_zeros(0)
        self._apart: dict[Key, Tensor] = {}
        self._pseudo_labels = torch.zeros(2, classes, dtype=torch.float64, device=device)  # kept, correct
        self._steps = 0

    @torch.no_grad()
    def add(self, losses: Losses, true_labels: Tensor | None = None) -> None:
        """Count one step.

        Args:
            losses: the step's.
            true_labels: those of the unlabeled batch, (U,) int64, −1 where unknown.
        """
        pseudo = losses.pseudo
        mask_ratio = self._zero if pseudo is None else pseudo.weights.double().mean()
        unlabeled = losses.unlabeled.get("unlabeled", self._zero)
        sums = zip(SUMS, (losses.total, losses.labeled_sum, unlabeled, mask_ratio), strict=True)
        self._accumulate(
            {("sums", name): value for name, value in sums}
            | {("terms", name): value for name, value in {**losses.labeled, **losses.unlabeled}.items()}
            | {("measured", name): self._tensor(value) for name, value in losses.measured.items()}
        )
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
        figures: dict[Key, Any] = {key: (total / max(self._steps, 1)).tolist() for key, total in self._totals().items()}
        loss, labeled, unlabeled, mask_ratio = (figures.get(("sums", name), 0.0) for name in SUMS)
        kept, correct = ([_whole(count) for count in row] for row in self._pseudo_labels.tolist())
        details = MethodFigures()
        if terms := {name: value for (kind, name), value in figures.items() if kind == "terms"}:
            details["terms"] = terms
        if measured := {name: value for (kind, name), value in figures.items() if kind == "measured"}:
            details["measured"] = measured
        self._shapes, self._flat, self._apart = {}, self._zero.new_zeros(0), {}
        self._pseudo_labels.zero_()
        self._steps = 0
        losses: LossFigures = {
            "loss": loss,
            "loss_labeled": labeled,
            "loss_unlabeled": unlabeled,
            "mask_ratio": mask_ratio,
        }
        return losses, {"pseudo_kept": kept, "pseudo_correct": correct}, details

    def _accumulate(self, values: Mapping[Key, Tensor]) -> None:
        """Add to the figures by name, on the device; a figure that a step lacks counts as 0 there."""
        shapes = {key: value.shape for key, value in values.items()}
        if shapes != self._shapes:
            self._apart = self._totals()
            own = [self._apart.pop(key, self._zero.new_zeros(shape)) for key, shape in shapes.items()]
            self._shapes, self._flat = shapes, _joined(own)
        self._flat += _joined([value.detach().to(self._device) for value in values.values()])  # float64: `_zero` is one

    def _totals(self) -> dict[Key, Tensor]:
        parts = torch.split(self._flat, [shape.numel() for shape in self._shapes.values()]) if self._shapes else ()
        return self._apart | {
            key: part.reshape(shape).clone() for (key, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def _tensor(self, value: float | Tensor) -> Tensor:
        """A number as a tensor on the device; nothing waits for the copy."""
        return value if isinstance(value, Tensor) else torch.full((), value, dtype=torch.float64, device=self._device)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the sums so far."""
        totals = self._totals()
        named = {
            kind: {name: total for (own, name), total in totals.items() if own == kind}
            for kind in ("terms", "measured")
        }
        sums = torch.stack([totals.get(("sums", name), self._zero) for name in SUMS])
        return {"sums": sums, "pseudo_labels": self._pseudo_labels.clone(), "steps": self._steps} | named

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the sums of `state_dict`; those of the first version have no terms."""
        self._pseudo_labels.copy_(state["pseudo_labels"])
        self._steps = state["steps"]
        self._shapes, self._flat = {}, self._zero.new_zeros(0)
        sums = dict(zip(SUMS, state["sums"].unbind(), strict=True))
        named = {"sums": sums, "terms": state.get("terms", {}), "measured": state.get("measured", {})}
        self._apart = {
            (kind, name): total.to(self._device) for kind, totals in named.items() for name, total in totals.items()
        }


def _joined(values: Iterable[Tensor]) -> Tensor:
    return torch.cat([value.reshape(-1) for value in values])


def _whole(count: float) -> float:
    return int(count) if count.is_integer() else count
