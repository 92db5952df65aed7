"""ACR: Adaptive Consistency Regularizer (Wei and Gan, CVPR 2023).

Notation: a plain head, b balanced head; π labeled class shares. π is float64 as in the authors' program, so everything
that is adjusted by it is float64 too.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.algorithms.acr.anchors import divergences, present, strength
from cissl.algorithms.acr.card import Settings, TwoHeadSettings
from cissl.algorithms.contract import LABELED, STRONG, WEAK, Base, Facts, Losses, Outputs, PseudoLabels, Step, Survey
from cissl.algorithms.fixmatch.losses import unlabeled_loss
from cissl.algorithms.maths.adjustment import log_adjustment
from cissl.algorithms.maths.heads import xavier_linear


class TwoHeads(Base):
    """Two heads on the same features: a plain one, and a balanced one that makes the predictions."""

    settings: TwoHeadSettings
    views = {"labeled": LABELED, "weak": WEAK, "strong": STRONG, "strong2": STRONG}
    strong_views = ("strong", "strong2")

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``balanced``: head b, (n, width) → (n, C)."""
        return {"balanced": xavier_linear(width, classes)}

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Head b's logits, (n, C)."""
        return outputs.head("balanced")

    def loss_of(self, strong: Tensor, pseudo: PseudoLabels) -> Tensor:
        """Unlabeled loss of one head, scalar.

        Args:
            strong: the head's logits for both strong views, (2U, C).
            pseudo: its pseudo-labels.
        """
        return unlabeled_loss(strong, pseudo.classes.repeat(2), pseudo.weights.repeat(2))

    def strong_balanced(self, out: Mapping[str, Outputs]) -> Tensor:
        """The balanced head's logits for both strong views, (2U, C)."""
        return torch.cat([out[name].head("balanced") for name in self.strong_views])


class ACR(TwoHeads):
    """The plain head makes the pseudo-labels of both heads, after the labeled class shares are divided out.

    State:
        unlabeled_shares: q, (C,) float64.
        divergences: K, sum over this epoch of the divergences from the three anchors, (3,) float64.
        tau: strength with which the plain head's pseudo-labels are adjusted, float64 scalar.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``unlabeled_shares`` q (C,), ``divergences`` K (3,) and ``tau`` τ, a scalar; all float64."""
        return {
            "unlabeled_shares": facts.full((facts.classes,), 1 / facts.classes, torch.float64),
            "divergences": facts.full((3,), 0, torch.float64),
            "tau": facts.full((), self.settings.tau1, torch.float64),
        }

    def losses(self, step: Step) -> Losses:
        """The losses of both heads on pseudo-labels of head a, scalars."""
        settings, pi = self.settings, labeled_shares(step.facts)
        out = step.forward(*self.views)
        labeled_b, weak_b = (out[name].head("balanced") for name in ("labeled", "weak"))
        weak_a, weak_b = out["weak"].logits.detach(), weak_b.detach()

        plain = self.pseudo_labels(weak_a - log_adjustment(pi, step.state["tau"]), weak_a)
        balanced = self.pseudo_labels(weak_a - log_adjustment(pi, settings.tau12), weak_b)
        if step.number // self.period(step.facts) > settings.est_epoch:
            self.estimate(step, weak_b, pi)
        step.measured |= {name: step.state[name] for name in ("tau", "unlabeled_shares")}
        step.shared["plain"] = plain
        return Losses(
            labeled={
                "labeled": F.cross_entropy(out["labeled"].logits, step.targets),
                "labeled_balanced": F.cross_entropy(labeled_b + log_adjustment(pi, settings.tau2), step.targets),
            },
            unlabeled={
                "unlabeled": self.loss_of(step.strong_logits(out), plain),
                "unlabeled_balanced": self.loss_of(self.strong_balanced(out), balanced),
            },
            weights={"unlabeled": settings.wu, "unlabeled_balanced": settings.wu},
            pseudo=balanced,
        )

    def pseudo_labels(self, adjusted: Tensor, others: Tensor) -> PseudoLabels:
        """The class of the largest adjusted logit (U, C). A row is kept if its adjusted or its other logits (U, C) are
        confident.
        """
        kept = self.confident(adjusted) | self.confident(others)
        return PseudoLabels(adjusted.argmax(1), kept, adjusted.softmax(1))

    def confident(self, logits: Tensor) -> Tensor:
        """Whether the largest probability of a row reaches the threshold, (U,) bool."""
        return (logits / self.settings.temperature).softmax(1).amax(1) >= self.settings.confidence

    def estimate(self, step: Step, weak_b: Tensor, pi: Tensor) -> None:
        """Update q (C,) with the classes of weak_b (U, C), and add the distances of q from the anchors to K (3,)."""
        state, m = step.state, self.settings.ema_u
        labeled_too = step.facts.labeled_too[step.index["unlabeled"]]
        now = present(weak_b.argmax(1), self.confident(weak_b) & ~labeled_too, len(pi))
        shares = m * state["unlabeled_shares"] + (1 - m) * now
        found = now.sum() > 0
        news = {"unlabeled_shares": shares, "divergences": state["divergences"] + divergences(shares, pi)}
        step.next |= {name: torch.where(found, value, state[name]) for name, value in news.items()}

    def period(self, facts: Facts) -> int:
        """Length of an epoch, in steps."""
        return max(1, facts.steps_of(self.settings.epoch))

    def periodically(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begin a new epoch: τ, a scalar, follows the divergences of the last epoch, unless they are NaN."""
        steps, K, tau = self.period(survey.facts), state["divergences"], state["tau"]
        if survey.number // steps > self.settings.est_epoch:
            now = strength(K / steps, self.settings.tau1)
            tau = torch.where(now.isnan(), tau, now)
        return {"tau": tau, "divergences": torch.zeros_like(K)}


def labeled_shares(facts: Facts) -> Tensor:
    """Class shares of the labeled images, π, (C,) float64."""
    return facts.labeled_counts.double() / facts.labeled
