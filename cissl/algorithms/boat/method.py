"""BOAT: Boosting cOnsistency in duAl Training (Gan and Wei, 2024).

Notation: a plain head, b balanced head; π labeled class shares; q̂ and q_bal running class priors of head a and of head
b, (C,) each. π is float64 as in the authors' program, so that the labeled losses are float64 too.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.acr.method import TwoHeads, labeled_shares
from cissl.algorithms.boat.card import Settings
from cissl.algorithms.contract import Facts, Losses, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import confidence_mask
from cissl.algorithms.maths.adjustment import log_adjustment

MOMENTUM = 0.9  # momentum of the two means that scale the weights


class BOAT(TwoHeads):
    """Two heads; the balanced one learns from every row, weighted by how confident and how stable its label is.

    State:
        plain_prior, balanced_prior: q̂ and q_bal, (C,) each.
        mean_confidence, mean_agreement: running means of the adjusted confidence and of g, scalars.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``plain_prior`` and ``balanced_prior`` (C,); ``mean_confidence`` and ``mean_agreement``, scalars."""
        C = facts.classes
        return {
            "plain_prior": facts.full((C,), 1 / C),
            "balanced_prior": facts.full((C,), 1 / C),
            "mean_confidence": facts.full((), 0.1),
            "mean_agreement": facts.full((), 0.1),
        }

    def losses(self, step: Step) -> Losses:
        """The losses of both heads, scalars."""
        settings, pi = self.settings, labeled_shares(step.facts)
        out = step.forward(*self.views)
        labeled_a, labeled_b = out["labeled"].logits, out["labeled"].head("balanced")
        weak_a, weak_b = out["weak"].logits.detach(), out["weak"].head("balanced").detach()

        self.update_priors(step, weak_a, weak_b)
        plain, balanced = self.plain_labels(weak_a), self.balanced_labels(step, weak_a)
        step.shared["plain"] = plain
        adjustment = self.plain_adjustment(step, pi)
        return Losses(
            labeled={
                "labeled": F.cross_entropy(labeled_a + adjustment, step.targets),
                "labeled_balanced": F.cross_entropy(labeled_b + log_adjustment(pi, settings.tau2), step.targets),
            },
            unlabeled={
                "unlabeled": self.loss_of(step.strong_logits(out), plain),
                "unlabeled_balanced": self.loss_of(self.strong_balanced(out), balanced),
            },
            weights={"unlabeled": settings.wu, "unlabeled_balanced": settings.wu},
            pseudo=balanced,
            measured={name: step.next[name] for name in ("plain_prior", "balanced_prior")},
        )

    def update_priors(self, step: Step, weak_a: Tensor, weak_b: Tensor) -> None:
        """Update both priors with the mean probabilities of weak_a and weak_b (U, C). This step uses the new priors."""
        m = self.settings.emap
        for name, logits in (("plain_prior", weak_a), ("balanced_prior", weak_b)):
            step.next[name] = m * step.state[name] + (1 - m) * logits.softmax(1).mean(0)

    def plain_adjustment(self, step: Step, pi: Tensor) -> Tensor:
        """τ₃ (log π − log q_bal), (C,). It is −∞ for a class without labels, unless τ₃ is 0."""
        if self.settings.tau3 == 0:
            return torch.zeros_like(pi)
        return self.settings.tau3 * (pi.log() - step.next["balanced_prior"].log())

    def plain_labels(self, weak_a: Tensor) -> PseudoLabels:
        """FixMatch's pseudo-labels from weak_a (U, C)."""
        p = weak_a.softmax(1)
        return PseudoLabels(p.argmax(1), confidence_mask(p, self.settings.confidence), p)

    def balanced_labels(self, step: Step, weak_a: Tensor) -> PseudoLabels:
        """Labels from adjusted predictions (U, C). Their weights are g · mean confidence / mean g, (U,), and have no
        upper bound.
        """
        settings, log_prior = self.settings, step.next["plain_prior"].log()
        p = (weak_a - settings.tau * log_prior).softmax(1)
        other = ((weak_a - settings.tau4 * log_prior) / settings.tw).softmax(1)
        g = ((weak_a / settings.tw).softmax(1) * other).amax(1)
        for name, now in (("mean_confidence", p.amax(1).mean()), ("mean_agreement", g.mean())):
            step.next[name] = MOMENTUM * step.state[name] + (1 - MOMENTUM) * now
        weights = g * step.next["mean_confidence"] / step.next["mean_agreement"]
        return PseudoLabels(p.argmax(1), weights, p)

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Head b's logits minus τ_b log q_bal, (n, C)."""
        return outputs.head("balanced") - self.settings.tau_b * state["balanced_prior"].log()
