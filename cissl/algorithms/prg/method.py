"""PRG: class-transition-tracking based Pseudo-Rectifying Guidance (Duan et al., ICCV 2023)."""

import torch
from torch import Tensor

from cissl.algorithms.contract import AddOn, Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.maths.mixing import sharpen
from cissl.algorithms.maths.row_tables import put_rows
from cissl.algorithms.prg.card import Settings
from cissl.algorithms.prg.guidance import guidance, guided, previous_classes, transition_counts, written
from cissl.errors import UserError


class PRG(AddOn):
    """Predictions are multiplied by a row of a matrix that tracks which class follows which; PRG^Last with `last`.

    State:
        prg.bank: last predicted class of each unlabeled image, −1 for none, (N,) int64.
        prg.transitions: changes from class to class in each of the latest batches, (nb, C, C).
        prg.shares: mean probabilities of each of the latest batches, (nb, C).
        prg.slot: which of the batches is written next, int64 scalar.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``prg.bank`` (N,) int64, ``prg.transitions`` (nb, C, C), ``prg.shares`` (nb, C), and ``prg.slot``, an int64
        scalar.

        Raises:
            UserError: ``prg.hard_label: false`` has no effect with this base, or the base has no slot for it.
        """
        self._check()
        batches, C = self.settings.nb, facts.classes
        return {
            "prg.bank": facts.full((facts.unlabeled,), -1, torch.int64),
            "prg.transitions": facts.full((batches, C, C), 0),
            "prg.shares": facts.full((batches, C), 0),
            "prg.slot": facts.full((), 0, torch.int64),
        }

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """Probabilities (U, C) times a row of the guidance."""
        state, settings = step.state, self.settings
        self._track(step, probabilities)
        T = settings.temperature
        Q = probabilities if T == 1 else sharpen(probabilities, T)
        if settings.last:  # read the state before this batch
            rows, source = state["prg.bank"][step.index["unlabeled"]], state
        else:
            rows, source = Q.argmax(1), step.next
        return guided(Q, guidance(source["prg.transitions"], source["prg.shares"], self.alpha), rows)

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``unlabeled``: the base's loss with soft pseudo-labels, scalar. With hard ones there is no term."""
        if self.settings.hard_label:
            return {}
        return {"unlabeled": self.base.soft_consistency(step, out, pseudo)}

    @property
    def alpha(self) -> float:
        """α. The default is 1 for PRG and 3 for PRG^Last."""
        default = 3.0 if self.settings.last else 1.0
        return default if self.settings.alpha is None else self.settings.alpha

    def _track(self, step: Step, probabilities: Tensor) -> None:
        """Record this batch's predictions P (U, C) and the resulting changes of class."""
        state, index, classes = step.state, step.index["unlabeled"], probabilities.argmax(1)
        before = previous_classes(state["prg.bank"], index, classes)
        counts = transition_counts(before, classes, step.facts.classes)
        transitions, shares, slot = written(
            state["prg.transitions"], state["prg.shares"], state["prg.slot"], counts, probabilities.mean(0)
        )
        step.next |= {"prg.transitions": transitions, "prg.shares": shares, "prg.slot": slot}
        step.next["prg.bank"] = put_rows(state["prg.bank"], index, classes)
        step.measured["prg.changed"] = counts.sum() / len(index)

    def _check(self) -> None:
        """Refuse soft labels if the base has no slot for them or has soft labels itself."""
        base = self.base
        reason = ""
        if "unlabeled" not in base.card.slots:
            reason = f"changes the unlabeled loss, and {base.card.title} lets no add-on do so"
        elif type(base).consistency is type(base).soft_consistency:
            reason = f"changes nothing, since labels are probabilities in {base.card.title} anyway"
        if reason and not self.settings.hard_label:
            raise UserError(f"prg.hard_label: false {reason}; leave it out", key="prg.hard_label")
