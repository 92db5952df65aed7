"""SoftMatch: FixMatch with weights instead of a threshold (Chen et al., 2023)."""

import torch
from torch import Tensor

from cissl.algorithms.contract import Facts, Losses, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import update_class_prior
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.alignment import aligned
from cissl.algorithms.maths.mixing import sharpen
from cissl.algorithms.softmatch.card import Settings
from cissl.algorithms.softmatch.gaussian_weights import class_moments, moments, row_weights
from cissl.errors import UserError


class SoftMatch(FixMatch):
    """FixMatch with weights from aligned predictions, and labels from predictions that are not aligned.

    State:
        p_model: p, running mean of the weak views' probabilities, (C,); zeros until the first batch.
        p_target: q, the distribution that predictions are aligned with, (C,).
        confidence_mean, confidence_variance: μ and v, scalars, or (C,) with ``per_class``.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``p_model`` and ``p_target`` (C,); ``confidence_mean`` and ``confidence_variance``, scalars
        or (C,).

        Raises:
            UserError: a step has one unlabeled image, so confidences have no variance.
        """
        if facts.batch * self.settings.uratio < 2:
            raise UserError(
                "SoftMatch uses the variance of confidences and needs at least two unlabeled images in a step; raise "
                "uratio or batch",
                key="uratio",
            )
        shape = (facts.classes,) if self.settings.per_class else ()
        return super().state(facts) | {
            "p_model": facts.full((facts.classes,), 0),
            "p_target": facts.full((facts.classes,), 1 / facts.classes),
            "confidence_mean": facts.full(shape, 1 / facts.classes),
            "confidence_variance": facts.full(shape, 1),
        }

    def losses(self, step: Step) -> Losses:
        """FixMatch's losses, scalars. Every row counts with its weight."""
        out = step.forward(*self.views)
        momentum = self.settings.cap_ema_momentum
        step.next["class_prior"] = update_class_prior(step.state["class_prior"], out["weak"].probabilities, momentum)

        labeled = {"labeled": self.supervised(step, out)} | step.labeled_terms(out)
        weights = self.weigh(step, self.align(step, out))
        probabilities = out["weak"].probabilities.detach()
        classes = probabilities.argmax(1)
        if self.settings.temperature:
            probabilities = sharpen(probabilities, self.settings.temperature)
        pseudo = PseudoLabels(classes, weights, probabilities)
        unlabeled = {"unlabeled": self.consistency(step, out, pseudo)} | step.unlabeled_terms(out, pseudo)
        return Losses(labeled=labeled, unlabeled=unlabeled, weights=self.weights(), pseudo=pseudo)

    def align(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """Aligned weak probabilities (U, C). The running means include this batch."""
        weak, momentum = out["weak"].probabilities.detach(), self.settings.ema_p
        mean, target = step.state["p_model"], step.state["p_target"]
        now = weak.mean(0)
        mean = torch.where(mean.any(), momentum * mean + (1 - momentum) * now, now)
        if not self.settings.dist_uniform:
            target = momentum * target + (1 - momentum) * out["labeled"].probabilities.detach().mean(0)
        step.next |= {"p_model": mean, "p_target": target}
        step.shared["aligned"] = p = aligned(weak, target, mean)
        return p

    def weigh(self, step: Step, probabilities: Tensor) -> Tensor:
        """Weights (U,) of rows with these aligned probabilities (U, C). The running moments include this batch."""
        settings = self.settings
        confidences, classes = probabilities.max(1)
        now = class_moments(confidences, classes, step.facts.classes) if settings.per_class else moments(confidences)
        news = dict(zip(("confidence_mean", "confidence_variance"), now, strict=True))
        news = {name: settings.ema_p * step.state[name] + (1 - settings.ema_p) * value for name, value in news.items()}
        step.next |= news
        step.measured |= news
        mean, variance = (value[classes] if settings.per_class else value for value in news.values())
        return row_weights(confidences, mean, variance, settings.n_sigma)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """Cross-entropy with hard or soft pseudo-labels, scalar."""
        loss = self.soft_consistency if self.settings.temperature else super().consistency
        return loss(step, out, pseudo)
