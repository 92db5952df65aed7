"""TRAS: a second head on the same features learns from the first one (Wei et al., 2022)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.algorithms.contract import AddOn, Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import confidence_mask, soft_unlabeled_loss
from cissl.algorithms.maths.adjustment import log_adjustment
from cissl.algorithms.maths.heads import xavier_linear
from cissl.algorithms.tras.card import Settings
from cissl.algorithms.tras.transfer import adjusted, strengths, transfer_targets


class TRAS(AddOn):
    """Adjusted pseudo-labels for the first head. After a warm-up, adjusted soft targets train a second head.

    State:
        tras.started: whether the second head learns and predicts, bool scalar.
    """

    settings: Settings

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``tras``: the second classifier, (n, width) → (n, C)."""
        return {"tras": xavier_linear(width, classes)}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``tras.started``: whether the warm-up has ended, a bool scalar."""
        return {"tras.started": facts.full((), False, torch.bool)}

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """Adjusted probabilities (U, C)."""
        return adjusted(probabilities, self.adjustment(step.facts))

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Losses of the second head, scalars: balanced softmax on labeled rows, and the transfer on strong views."""
        settings, facts = self.settings, step.facts
        if step.number < facts.steps_of(settings.warmup):
            return {}
        step.next["tras.started"] = torch.ones_like(step.state["tras.started"])
        adjustment = self.adjustment(facts)
        strength = strengths(adjustment, settings.A, settings.B)

        weak = out["weak"].head("tras").detach().softmax(1)
        kept = confidence_mask(weak, settings.confidence)
        strong = torch.cat([out[name].head("tras") for name in self.base.strong_views])
        targets = transfer_targets(step.strong_logits(out), weak.argmax(1), adjustment, strength)
        step.shared["tras.targets"], step.shared["tras.kept"] = targets, kept
        step.measured["tras.mask_ratio"] = kept.double().mean()
        labeled = out["labeled"].head("tras") + adjustment.to(facts.dtype)
        return {
            "tras.labeled": F.cross_entropy(labeled, step.targets),
            "tras.unlabeled": soft_unlabeled_loss(strong, targets, kept.repeat(len(strong) // len(kept))),
        }

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """After the warm-up the second head's logits (n, C), before it the given scores."""
        return torch.where(state["tras.started"], outputs.head("tras"), scores)

    def adjustment(self, facts: Facts) -> Tensor:
        """a, the log class shares, (C,) float64."""
        return log_adjustment(facts.labeled_counts.double() / facts.labeled, self.settings.tro)
