"""ABC: the base trains the backbone, and a second head on its features sees balanced batches (Lee et al., 2021)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cissl.algorithms.abc.balance import balanced_labeled_loss, balanced_unlabeled_loss, keep_rates, ramped
from cissl.algorithms.abc.card import Settings
from cissl.algorithms.contract import AddOn, Outputs, PseudoLabels, Step
from cissl.algorithms.maths.heads import xavier_linear


class ABC(AddOn):
    """An auxiliary classifier on the same features learns from balanced batches and makes the predictions.

    Its loss also trains the backbone.
    """

    settings: Settings

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``abc``: the balanced classifier, (n, width) → (n, C)."""
        return {"abc": xavier_linear(width, classes)}

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Both losses of the balanced head, ``abc.labeled`` and ``abc.unlabeled``, scalars already multiplied by the
        weight.
        """
        settings = self.settings
        weak = out["weak"].head("abc").detach().softmax(1)  # Q: soft, not sharpened
        confident = weak.amax(1) >= settings.confidence

        rates = keep_rates(step.facts.labeled_counts)
        draws = step.random("abc")  # labeled rows first; the number of draws does not depend on the masks
        kept_labeled = draws.bernoulli(rates[step.targets])
        kept = draws.bernoulli(ramped(rates, step.progress)[weak.argmax(1)])

        strong = torch.cat([out[name].head("abc") for name in step.method.base.strong_views])
        step.measured["abc.mask_ratio"] = (confident & kept).double().mean()
        labeled = balanced_labeled_loss(out["labeled"].head("abc"), step.targets, kept_labeled)
        unlabeled = balanced_unlabeled_loss(strong, weak, confident & kept)
        return {"abc.labeled": settings.weight * labeled, "abc.unlabeled": settings.weight * unlabeled}

    def predict(self, outputs: Outputs, state: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """The balanced head's logits, (n, C)."""
        return outputs.head("abc")
