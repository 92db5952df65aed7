"""DebiasPL: debiased pseudo-labels (Wang et al., CVPR 2022)."""

import torch
from torch import Tensor

from cissl.algorithms.contract import STRONG, WEAK, Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.debiaspl.card import Settings
from cissl.algorithms.debiaspl.debiasing import group_loss, log_bias
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.errors import UserError


class DebiasPL(FixMatch):
    """FixMatch with pseudo-labels from debiased logits and a margin against frequent classes in their loss.

    State:
        qhat: q, running mean of the weak views' probabilities before they are debiased, (C,).
    """

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.weak_views: tuple[str, ...] = ("weak",)
        if settings.multiviews:
            self.weak_views, self.strong_views = ("weak", "weak2"), ("strong", "strong2")
            self.views = {**FixMatch.views, "weak2": WEAK, "strong2": STRONG}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state, and ``qhat``, the running mean of the predictions, (C,)."""
        return super().state(facts) | {"qhat": facts.full((facts.classes,), 1 / facts.classes)}

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and the weight of CLD."""
        return super().weights() | {"cld": self.settings.lambda_cld}

    def outputs(self, step: Step) -> dict[str, Outputs]:
        """Outputs of every view. With two weak views, ``"weak"`` has the mean of their logits.

        Raises:
            UserError: an add-on is combined with ``multiviews``.
        """
        self._stands_alone()
        seen_by_average = self.weak_views if self.settings.eman else ()
        out = step.forward(*(name for name in self.views if name not in seen_by_average))
        out |= {name: step.teacher(step.view(name)) for name in seen_by_average}
        weak = step.shared["weak"] = [out[name].logits.detach() for name in self.weak_views]
        if self.settings.multiviews:
            out["weak"] = out["weak"].with_logits(torch.stack(weak).mean(0))
        return out

    def predictions(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """Probabilities (U, C), debiased by the mean before this step. Then the mean is updated with this step."""
        m, weak = self.settings.qhat_m, out["weak"].logits.detach()
        step.next["qhat"] = step.measured["qhat"] = m * step.state["qhat"] + (1 - m) * weak.softmax(1).mean(0)
        return self.debiased(step, weak)

    def debiased(self, step: Step, weak: Tensor) -> Tensor:
        """softmax(w − τ log q), (U, C), from weak logits w (U, C) and the q before this step."""
        return (weak - log_bias(step.state["qhat"], self.settings.tau)).softmax(1)

    def strong_logits(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """s + τ log q, (views · U, C), with the q after this step."""
        return step.strong_logits(out) + log_bias(step.next["qhat"], self.settings.tau)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The mean over all pairs of pseudo-labels and strong views, scalar."""
        labels = [pseudo]
        if self.settings.multiviews:
            labels += [self.choose(step, self.debiased(step, weak)) for weak in step.shared["weak"]]
        return torch.stack([super(DebiasPL, self).consistency(step, out, each) for each in labels]).mean()

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``cld``, scalar. With two strong views it uses the mean of their logits, without a margin."""
        if not self.settings.lambda_cld:
            return {}
        if self.settings.multiviews:
            strong = torch.stack([out[name].logits for name in self.strong_views]).mean(0)
        else:
            strong = self.strong_logits(step, out)
        return {"cld": group_loss(strong.softmax(1), out["weak"].logits.detach().softmax(1))}

    def _stands_alone(self) -> None:
        if self.settings.multiviews and self.add_ons:
            others = " and ".join(part.card.title for part in self.add_ons)
            raise UserError(
                f"DebiasPL with multiviews: true and {others} do not combine: each image has three pseudo-labels, and "
                "an add-on would see only one of them; leave multiviews out",
                key="multiviews",
            )
