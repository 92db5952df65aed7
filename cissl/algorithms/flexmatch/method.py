"""FlexMatch: FixMatch with thresholds that follow how well each class is learned (Zhang et al., 2021)."""

import torch
from torch import Tensor

from cissl.algorithms.contract import Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.flexmatch.card import Settings
from cissl.algorithms.flexmatch.curriculum import class_thresholds, learning_effects, remember


class FlexMatch(FixMatch):
    """FixMatch whose thresholds follow how well each class is learned (curriculum pseudo labeling).

    State:
        selected: last class that was predicted with confidence for each unlabeled image, −1 for none, (N,) int64.
        selected_counts: number of images of each class, and at the end the number without a class, (C + 1,) int64.
        learning: learning effect β of each class, (C,).
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``selected`` (N,) int64, ``selected_counts`` (C + 1,) int64 and ``learning`` (C,)."""
        counts = facts.full((facts.classes + 1,), 0, torch.int64)
        counts[-1] = facts.unlabeled
        return super().state(facts) | {
            "selected": facts.full((facts.unlabeled,), -1, torch.int64),
            "selected_counts": counts,
            "learning": facts.full((facts.classes,), 0.0),
        }

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """Pseudo-labels (U,) by the thresholds before this step. Then this batch updates the learning effects."""
        settings, state = self.settings, step.state
        largest, classes = probabilities.max(1)
        thresholds = class_thresholds(state["learning"], settings.confidence)
        kept = largest >= thresholds[classes]

        confident = largest >= settings.confidence
        selected, counts = state["selected"], state["selected_counts"]
        selected, counts = remember(selected, counts, step.index["unlabeled"], classes, confident)
        learning = learning_effects(counts, state["learning"], warmup=settings.thresh_warmup)
        step.next.update(selected=selected, selected_counts=counts, learning=learning)
        step.measured["thresholds"] = thresholds
        return PseudoLabels(classes, kept, probabilities)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """Cross-entropy with hard or soft pseudo-labels, scalar."""
        loss = super().consistency if self.settings.hard_label else self.soft_consistency
        return loss(step, out, pseudo)
