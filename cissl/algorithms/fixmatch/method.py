"""FixMatch's training step (Sohn et al., 2020), with a slot for every kind of add-on."""

from collections.abc import Mapping

from torch import Tensor

from cissl.algorithms.contract import LABELED, STRONG, WEAK, Base, Facts, Losses, Outputs, PseudoLabels, Step, View
from cissl.algorithms.fixmatch.losses import (
    confidence_mask,
    soft_unlabeled_loss,
    unlabeled_loss,
    update_class_prior,
)


class FixMatch(Base):
    """The prediction on a weak view is the label of a strong view of the same image, if it is confident.

    A method that inherits from it changes single parts of the step: `outputs`, `supervised`, `predictions`, `choose`,
    `consistency`, `further_terms`. Its settings extend `SharedSettings`; `choose` also needs ``confidence``.

    State:
        class_prior: p̂, running mean of the weak views' probabilities, (C,). It is recorded, and CAP and CAI use it.
    """

    views: Mapping[str, View] = {"labeled": LABELED, "weak": WEAK, "strong": STRONG}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``class_prior`` p̂, (C,), uniform at the start."""
        return {"class_prior": facts.full((facts.classes,), 1 / facts.classes)}

    def losses(self, step: Step) -> Losses:
        """The labeled loss, the pseudo-labels and the unlabeled loss, with the terms of the add-ons; scalars."""
        out = self.outputs(step)
        momentum = self.settings.cap_ema_momentum
        step.next["class_prior"] = update_class_prior(step.state["class_prior"], out["weak"].probabilities, momentum)

        labeled = {"labeled": self.supervised(step, out)}
        labeled |= step.labeled_terms(out)
        probabilities = step.guess(out, self.predictions(step, out))
        pseudo = step.select(out, self.choose(step, probabilities))
        unlabeled = {"unlabeled": self.consistency(step, out, pseudo)} | self.further_terms(step, out, pseudo)
        unlabeled |= step.unlabeled_terms(out, pseudo)
        return Losses(labeled=labeled, unlabeled=unlabeled, weights=self.weights(), pseudo=pseudo)

    def outputs(self, step: Step) -> dict[str, Outputs]:
        """The network's outputs for every view."""
        return step.forward(*self.views)

    def weights(self) -> dict[str, float]:
        """Weight of each term of the unlabeled loss."""
        return {"unlabeled": self.settings.wu}

    def predictions(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """The probabilities (U, C) that pseudo-labels are made from, without gradient."""
        return out["weak"].probabilities.detach()

    def choose(self, step: Step, probabilities: Tensor) -> PseudoLabels:
        """Pseudo-labels from the probabilities (U, C): the most probable class, kept if its probability reaches the
        threshold.
        """
        mask = confidence_mask(probabilities, self.settings.confidence)
        step.measured["thresholds"] = probabilities.new_full((step.facts.classes,), self.settings.confidence)
        return PseudoLabels(probabilities.argmax(1), mask, probabilities)

    def consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The unlabeled loss before its weight λ, scalar: the mean over all strong views."""
        views = len(self.strong_views)
        return unlabeled_loss(self.strong_logits(step, out), pseudo.classes.repeat(views), pseudo.weights.repeat(views))

    def soft_consistency(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> Tensor:
        """The unlabeled loss with probabilities (U, C) as targets, scalar: the mean over all strong views."""
        views = len(self.strong_views)
        targets, weights = pseudo.probabilities.repeat(views, 1), pseudo.weights.repeat(views)
        return soft_unlabeled_loss(self.strong_logits(step, out), targets, weights)

    def strong_logits(self, step: Step, out: dict[str, Outputs]) -> Tensor:
        """The logits in the unlabeled loss: those of all strong views, one view below the other, (views · U, C)."""
        return step.strong_logits(out)

    def further_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """Further terms of the unlabeled loss, scalars by name, before their weights."""
        return {}
