"""ADELLO: flexible distribution alignment and complementary consistency (Sanchez Aimar et al., ECCV 2024)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.algorithms.adello.card import Settings
from cissl.algorithms.adello.target_distribution import adjustments, exponent, unevenness, updated_shares
from cissl.algorithms.contract import Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import soft_unlabeled_loss
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.mixing import sharpen


class ADELLO(FixMatch):
    """FixMatch with logits adjusted towards a target distribution; rows below the threshold get soft labels.

    State:
        unlabeled_shares: q, (C,) float64.
        temperature: T after it was inferred, float64 scalar; NaN before.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state, ``unlabeled_shares`` q (C,), and ``temperature`` T, a scalar that is NaN until inferred;
        float64.
        """
        C = facts.classes
        return super().state(facts) | {
            "unlabeled_shares": facts.full((C,), 1 / C, torch.float64),
            "temperature": facts.full((), math.nan, torch.float64),
        }

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and the weight of the distillation."""
        return super().weights() | {"distill": self.settings.lambda_distill}

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """Cross-entropy of logits that are adjusted from the labeled shares to the target, scalar."""
        adjustment, _ = self.adjustments(step)
        rows = F.cross_entropy(out["labeled"].logits + adjustment, step.targets, reduction="none")
        return rows.mean() if weights is None else (weights * rows).mean()

    def predictions(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """The weak view's probabilities (U, C), not adjusted. They update q."""
        probabilities, index = super().predictions(step, out), step.index.get("unlabeled")
        counted = torch.ones(len(probabilities), dtype=torch.bool, device=probabilities.device)
        if self.settings.exclude_labeled:
            counted = ~step.facts.labeled_too[index]
        shares = updated_shares(step.state["unlabeled_shares"], probabilities, counted, self.settings.ema_p)
        step.next["unlabeled_shares"] = step.measured["unlabeled_shares"] = shares
        return probabilities

    def strong_logits(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """Strong logits that are adjusted from the unlabeled shares to the target, (views · U, C)."""
        _, adjustment = self.adjustments(step)
        return step.strong_logits(out) + adjustment

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``distill``: the loss of the rows without a pseudo-label, scalar."""
        settings = self.settings
        if step.number < step.facts.steps_of(settings.distill_start):
            return {}
        T, views = self.temperature(step), len(self.strong_views)
        targets = sharpen(pseudo.probabilities, T)
        left_out = 1 - pseudo.weights.to(targets.dtype)
        logits = self.strong_logits(step, out) / T
        return {"distill": soft_unlabeled_loss(logits, targets.repeat(views, 1), left_out.repeat(views))}

    def temperature(self, step: Step) -> float | Tensor:
        """T, a number or a scalar tensor. It is inferred once."""
        if not self.settings.distill_inferred:
            return self.settings.distill_temperature
        before = step.state["temperature"]
        T = torch.where(before.isnan(), unevenness(step.next["unlabeled_shares"]), before)
        step.next["temperature"] = step.measured["temperature"] = T
        return T

    def adjustments(self, step: Step) -> tuple[Tensor, Tensor]:
        """The adjustments of the labeled and of the strong logits, (C,) each, from the shares before this step."""
        settings, facts = self.settings, step.facts
        labeled = facts.labeled_counts.double() / facts.labeled
        alpha = exponent(step.progress, settings.alpha_min, settings.alpha_k)
        return adjustments(labeled, step.state["unlabeled_shares"], alpha)
