"""CDMAD: debiasing with the logits of a blank image (Lee and Kim, CVPR 2024)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cissl.algorithms.cdmad.card import Settings
from cissl.algorithms.contract import LABELED, STRONG, WEAK, Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.method import FixMatch

SMALL = 1e-8


class CDMAD(FixMatch):
    """FixMatch with soft pseudo-labels. A bias towards classes is subtracted from pseudo-labels and predictions."""

    settings: Settings
    views = {"weak": WEAK, "labeled": LABELED, "strong": STRONG, "strong2": STRONG}
    strong_views = ("strong", "strong2")

    def outputs(self, step: Step) -> dict[str, Outputs]:
        """Outputs of each view in a pass of its own. The first pass has the blank image; it also updates BatchNorm's
        averages.
        """
        with torch.no_grad():
            blank = step.network(blank_image(step.facts), replicated=True).logits[0]
            out = step.forward("weak")
        step.shared["blank"] = step.measured["blank"] = blank
        for view in ("labeled", *self.strong_views):
            out |= step.forward(view)
        return out

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """The labeled loss with a bounded cross-entropy, scalar."""
        logits = out["labeled"].logits
        one_hot = torch.eye(step.facts.classes, dtype=logits.dtype, device=logits.device)[step.targets]
        rows = cross_entropy(logits, one_hot)
        return rows.mean() if weights is None else (weights * rows).mean()

    def predictions(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """softmax(w − b), (U, C). Before debiasing starts, the bias b is 0."""
        if step.number < step.facts.steps_of(self.settings.debias_start):
            return super().predictions(step, out)
        bias: Tensor = step.shared["blank"]
        return (out["weak"].logits.detach() - bias).softmax(1)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """Bounded cross-entropy of the strong views against soft pseudo-labels, scalar."""
        views = len(self.strong_views)
        rows = cross_entropy(self.strong_logits(step, out), pseudo.probabilities.repeat(views, 1))
        return (rows * pseudo.weights.repeat(views)).mean()

    soft_consistency = consistency

    def prepare(self, network: Callable[[Tensor], Outputs], facts: Facts) -> dict[str, Tensor]:
        """``blank``: the bias (C,), which is the averaged network's logits for the blank image."""
        return {"blank": network(blank_image(facts)).logits[0]}

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor]) -> Tensor:
        """Logits minus the bias, (n, C)."""
        return outputs.logits - state["blank"]


def blank_image(facts: Facts) -> Tensor:
    """An image of shape (1, channels, H, W) whose pixels are all 1."""
    return facts.full((1, facts.channels, facts.side, facts.side), 1.0)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−Σ_c t_c log(softmax(l)_c + 1e-8) of each row, (n,). The constant bounds the loss and its gradient.

    Args:
        logits: l, (n, C).
        targets: t, rows of sum 1, (n, C).
    """
    return -(targets * (logits.softmax(1) + SMALL).log()).sum(1)
