"""Adsh: adaptive thresholding (Guo and Li, ICML 2022)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cissl.algorithms.adsh.adaptive_thresholds import adapted, rectified
from cissl.algorithms.adsh.card import Settings
from cissl.algorithms.contract import AddOn, Facts, Outputs, PseudoLabels, Step, Survey


class Adsh(AddOn):
    """Thresholds by class. Each epoch adapts them to what the trained network predicts for all unlabeled images.

    State:
        adsh.score: s, the thresholds, (C,) float64.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``adsh.score``: the threshold of each class, (C,) float64."""
        return {"adsh.score": facts.full((facts.classes,), self.base.settings.confidence, torch.float64)}

    def period(self, facts: Facts) -> int:
        """Length of an epoch, in steps."""
        return max(1, facts.steps_of(self.settings.epoch))

    def periodically(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New thresholds (C,) from the trained network's probabilities (N, C) of all unlabeled images."""
        if survey.number < 2 * self.period(survey.facts):  # the thresholds of the first two epochs are fixed
            return {}
        probabilities = survey.outputs("unlabeled", network="raw", augment="weak").probabilities
        counts = survey.facts.labeled_counts.tolist()
        head = counts.index(max(counts))
        return {"adsh.score": adapted(state["adsh.score"], probabilities, self.base.settings.confidence, head)}

    def select(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> PseudoLabels:
        """Pseudo-labels from probabilities divided by thresholds. A row (U,) is kept if its largest ratio is at least
        1.
        """
        scores = step.measured["thresholds"] = step.state["adsh.score"]
        largest, classes = rectified(pseudo.probabilities, scores).max(1)
        return PseudoLabels(classes, largest >= 1, pseudo.probabilities)
