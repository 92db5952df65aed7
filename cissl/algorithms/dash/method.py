"""Dash: FixMatch with a threshold for losses that falls during the training (Xu et al., 2021)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.contract import Facts, Losses, PseudoLabels, Stage, Step, Survey
from cissl.algorithms.dash.card import Settings
from cissl.algorithms.dash.dynamic_threshold import decayed_threshold, pseudo_targets, row_losses
from cissl.algorithms.fixmatch.method import FixMatch

EPOCHS = 10  # number of epochs between two updates of the threshold


class Dash(FixMatch):
    """A supervised warm-up, and then pseudo-labels whose loss is at most a falling threshold.

    State:
        rho_init: ρ̂, the loss after the warm-up, float64 scalar; 0 before.
        rho: ρ, the threshold, float64 scalar; 0 before, which keeps no row.
        rho_updates: how often the threshold was set, int64 scalar.
    """

    settings: Settings

    def stages(self, facts: Facts) -> tuple[Stage, ...]:
        """A warm-up on labeled images, and then the main training."""
        warm_up = max(1, facts.steps_of(self.settings.num_wu_iter)) / facts.steps
        return Stage(warm_up), Stage(1 - warm_up, restart_schedule=True, restart_average=True)

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; the scalars ``rho_init`` and ``rho``, float64, and ``rho_updates``, int64."""
        nothing = facts.full((), 0, torch.float64)
        return super().state(facts) | {"rho_init": nothing, "rho": nothing, "rho_updates": nothing.long()}

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``rho_init``, a scalar: the labeled loss after the warm-up, or the value of the setting."""
        if self.settings.rho_init is not None:
            return {"rho_init": torch.full_like(state["rho_init"], self.settings.rho_init)}
        logits = survey.outputs("labeled", network="raw").logits
        return {"rho_init": F.cross_entropy(logits.double(), survey.facts.labeled_targets)}

    def losses(self, step: Step) -> Losses:
        """The labeled loss in the warm-up, and then FixMatch's losses; scalars."""
        if step.stage > 0:
            return super().losses(step)
        step.measured["rho"] = step.state["rho"]
        return Losses(labeled={"labeled": self.supervised(step, step.forward("labeled"))})

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """Pseudo-labels that count, (U,) bool, if their own loss on the weak view is at most ρ. Their targets are (U,
        C).
        """
        settings = self.settings
        rho = step.measured["rho"] = self.threshold(step)
        targets = pseudo_targets(probabilities, rho == settings.rho_min, settings.temperature)
        return PseudoLabels(probabilities.argmax(1), row_losses(probabilities, targets) <= rho, targets)

    def threshold(self, step: Step) -> Tensor:
        """ρ of this step, a scalar. It is set every ten epochs."""
        settings, state = self.settings, step.state
        if step.stage_number % (EPOCHS * max(1, step.facts.steps_of(settings.epoch))):
            return state["rho"]
        rho = decayed_threshold(
            state["rho_init"],
            state["rho_updates"],
            constant=settings.constant,
            gamma=settings.gamma,
            lowest=settings.rho_min,
        )
        step.next |= {"rho": rho, "rho_updates": state["rho_updates"] + 1}
        return rho

    consistency = FixMatch.soft_consistency
