"""The Π-Model (Laine & Aila, 2017), as in the program of FixMatch's authors."""

import torch
from torch import Tensor

from cissl.algorithms.contract import LABELED, WEAK, Base, Losses, Step
from cissl.algorithms.maths.mixing import brier, ramp_up
from cissl.algorithms.pi_model.card import Settings


class PiModel(Base):
    """The probabilities of the second weak view follow those of the first.

    There are three passes, and only the labeled one updates BatchNorm's averages.
    """

    settings: Settings
    views = {"labeled": LABELED, "weak": WEAK, "weak2": WEAK}

    def losses(self, step: Step) -> Losses:
        """The labeled loss, and the Brier score between a prediction and its target; scalars."""
        labeled = step.network(step.view("labeled"))
        target = self.target(step)
        prediction = step.network(step.view("weak2"), update_averages=False)
        out = {"labeled": labeled, "weak2": prediction}
        weight = ramp_up(step.number, self.settings.warmup_pos * step.facts.steps)
        return Losses(
            labeled={"labeled": self.supervised(step, out)} | step.labeled_terms(out),
            unlabeled={"unlabeled": brier(prediction.logits, target)},
            weights={"unlabeled": self.settings.consistency_weight * weight},
        )

    @torch.no_grad()
    def target(self, step: Step) -> Tensor:
        """Probabilities (B, C) of the first weak view, without gradient. The second view follows them."""
        return step.network(step.view("weak"), update_averages=False).probabilities
