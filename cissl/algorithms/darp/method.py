"""DARP: Distribution Aligning Refinery of Pseudo-labels (Kim et al., NeurIPS 2020)."""

import torch
from torch import Tensor

from cissl.algorithms.contract import AddOn, Facts, Outputs, Step
from cissl.algorithms.darp.card import Settings
from cissl.algorithms.darp.refinery import filtered, solve, target_counts
from cissl.algorithms.maths.row_tables import put_rows
from cissl.errors import UserError


class DARP(AddOn):
    """A table has pseudo-labels of all unlabeled images. They are refined so that the classes have assumed counts.

    State:
        darp.table: the latest prediction for every unlabeled image, (N, C).
        darp.refined: the table after its last refinement, (N, C).
    """

    settings: Settings
    waits = "the solver asks whether its roots are found"

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``darp.table``, the latest probabilities of all images, and ``darp.refined``, the refined ones; (N, C) each.

        Raises:
            UserError: ``darp.shares`` does not have one number for each class, or a class has share 0.
        """
        self._check(facts)
        uniform = facts.full((facts.unlabeled, facts.classes), 1 / facts.classes)
        return {"darp.table": uniform, "darp.refined": uniform}

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """The refined pseudo-labels of this step's rows, (U, C). In the warm-up these are the given probabilities."""
        settings, index = self.settings, step.index["unlabeled"]
        table = step.next["darp.table"] = put_rows(step.state["darp.table"], index, probabilities)
        length = max(1, step.facts.steps_of(settings.epoch))
        epoch, batch = divmod(step.number, length)
        if epoch <= step.facts.steps_of(settings.warm) // length:
            return probabilities
        refined = step.state["darp.refined"]
        if batch % settings.num_iter == 0:
            counts = self._target_counts(step.facts)
            confident = filtered(table, counts, settings.alpha)
            refined, unsolved = solve(confident, counts, rounds=settings.iter_t, tolerance=settings.tol)
            step.next["darp.refined"] = refined
            step.measured["darp.unsolved"] = unsolved
        return refined[index]

    def _target_counts(self, facts: Facts) -> Tensor:
        """q, (C,) float32."""
        given = self.settings.numbers
        shares = facts.labeled_counts if given is None else torch.tensor(given, device=facts.device)
        return target_counts(shares, facts.unlabeled)

    def _check(self, facts: Facts) -> None:
        """Refuse class counts that cannot be reached, before the training starts."""
        given = self.settings.numbers
        if given is not None and len(given) != facts.classes:
            raise UserError(
                f"darp.shares has {len(given)} numbers for {facts.classes} classes: give one for each",
                key="darp.shares",
            )
        counts = self._target_counts(facts).tolist()
        if min(counts) <= 0:
            raise UserError(
                f"DARP needs a share above 0 for every class, and class {counts.index(min(counts))} has no labeled "
                "image: use a split that has some of each, or say in darp.shares how frequent the classes are",
                key="darp.shares",
            )
