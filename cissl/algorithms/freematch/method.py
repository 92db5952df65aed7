"""FreeMatch: FixMatch whose thresholds follow the network's own confidence (Wang et al., 2023)."""

import torch
from torch import Tensor

from cissl.algorithms.contract import Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.freematch.card import Settings
from cissl.algorithms.freematch.self_adaptive_thresholds import (
    class_shares,
    class_thresholds,
    fairness_loss,
    typical_confidence,
)
from cissl.algorithms.maths.mixing import sharpen


class FreeMatch(FixMatch):
    """FixMatch with self-adaptive thresholds and a fairness term.

    State:
        threshold: τ, running mean of the confidence, a scalar.
        mean: p, running mean of the weak views' probabilities, (C,).
        histogram: h, running shares of the predicted classes, (C,).
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``threshold``, a scalar, and the class distributions ``mean`` and ``histogram`` (C,)."""
        C = facts.classes
        shapes = {"threshold": (), "mean": (C,), "histogram": (C,)}
        return super().state(facts) | {name: facts.full(shape, 1 / C) for name, shape in shapes.items()}

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and the weight of the fairness term."""
        return super().weights() | {"fairness": self.settings.ent_loss_ratio}

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """Update the running means with this batch. Then choose pseudo-labels (U,) by the new thresholds."""
        settings = self.settings
        largest, classes = probabilities.max(1)
        news = {
            "threshold": typical_confidence(probabilities, quantile=settings.use_quantile),
            "mean": probabilities.mean(0),
            "histogram": class_shares(classes, torch.ones_like(largest), step.facts.classes),
        }
        step.next |= {
            name: settings.ema_p * step.state[name] + (1 - settings.ema_p) * now for name, now in news.items()
        }
        if settings.clip_thresh < 1:  # at 1 rounding errors stay, as in the authors' program
            step.next["threshold"] = step.next["threshold"].clamp_max(settings.clip_thresh)

        thresholds = step.measured["thresholds"] = class_thresholds(step.next["threshold"], step.next["mean"])
        targets = sharpen(probabilities, settings.temperature) if settings.temperature else probabilities
        return PseudoLabels(classes, largest >= thresholds[classes], targets)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """Cross-entropy with hard or soft pseudo-labels, scalar."""
        loss = self.soft_consistency if self.settings.temperature else super().consistency
        return loss(step, out, pseudo)

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``fairness``: kept rows of strong views follow the class distribution of the predictions so far, scalar."""
        kept = pseudo.weights.repeat(len(self.strong_views))
        return {"fairness": fairness_loss(step.strong_logits(out), kept, step.next["mean"], step.next["histogram"])}
