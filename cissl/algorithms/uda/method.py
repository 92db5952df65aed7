"""UDA's training step (Xie et al., 2020), as in FixMatch's authors' program."""

import dataclasses

from torch import Tensor

from cissl.algorithms.contract import Outputs, PseudoLabels, Step
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.mixing import sharpen
from cissl.algorithms.uda.annealing import annealed_loss, annealed_threshold, divergence, entropy
from cissl.algorithms.uda.card import Settings


class UDA(FixMatch):
    """FixMatch with soft, sharpened targets, and training signal annealing of the labeled loss."""

    settings: Settings

    def weights(self) -> dict[str, float]:
        """FixMatch's weights, and the weight of the entropy."""
        return super().weights() | {"entropy": self.settings.we}

    def supervised(self, step: Step, out: dict[str, Outputs], weights: Tensor | None = None) -> Tensor:
        """The labeled loss of the rows whose true class is not yet too probable, scalar."""
        settings, facts = self.settings, step.facts
        images, train_kimg = step.number * facts.batch, facts.steps / facts.kimg_steps
        threshold = annealed_threshold(settings.tsa, images, train_kimg, settings.tsa_pos, facts.classes)
        loss, kept = annealed_loss(out["labeled"].logits, step.targets, threshold, weights)
        step.measured["tsa_ratio"] = kept.double().mean()
        return loss

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """FixMatch's choice of rows. The targets (U, C) are sharpened; the probabilities that meet the threshold are
        not.
        """
        pseudo = super().choose(step, probabilities)
        return dataclasses.replace(pseudo, probabilities=sharpen(probabilities, self.settings.temperature))

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """Divergence of the strong views from their targets, scalar."""
        views = len(self.strong_views)
        targets, weights = pseudo.probabilities.repeat(views, 1), pseudo.weights.repeat(views)
        return divergence(self.strong_logits(step, out), targets, weights)

    soft_consistency = consistency

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``entropy`` of the weak views' predictions, scalar."""
        return {"entropy": entropy(out["weak"].logits)}
