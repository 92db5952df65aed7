"""The paper's three additions to a method with pseudo-labels and a class prior (Hu et al., ICLR 2022).

Notation: p̂ and p̂' class prior before and after this step's update, (C,); P weak probabilities, (U, C).
"""

import torch
from torch import Tensor

from cissl.algorithms.cadr.imputation import class_aware_mask, class_thresholds
from cissl.algorithms.cadr.propensity import log_row_weights, propensity
from cissl.algorithms.contract import AddOn, Outputs, PseudoLabels, Step


class CAP(AddOn):
    """Class-Aware Propensity (section 3.1): labeled rows are weighted by the inverse propensity of their class."""

    waits = "torch's eigenvalue solver makes the host wait for the device; with compile: true there is none"

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """``cap``: −mean log ω over the labeled rows, scalar. The doubly robust term reads the propensity (C,)."""
        weak, settings = out["weak"].probabilities, self.settings
        options = dict(upper=settings.upper, cap_ema=settings.cap_ema, compiled=step.facts.compiled)
        pi = propensity(weak, step.state["class_prior"], **options)
        step.shared["cap.propensity"] = pi
        # The weight is an added logarithm. It acts through its own gradient on the weak logits.
        return {"cap": -log_row_weights(pi, step.targets).mean()}


class CAI(AddOn):
    """Class-Aware Imputation (section 3.2): rare classes get pseudo-labels at a lower confidence."""

    def select(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> PseudoLabels:
        """The same classes. A row counts, (U,) bool, if its probability is above the threshold of its class."""
        thresholds = _thresholds(self, step)
        step.measured["thresholds"] = thresholds
        return PseudoLabels(pseudo.classes, class_aware_mask(pseudo.probabilities, thresholds), pseudo.probabilities)


class DoublyRobust(AddOn):
    """The doubly robust term (section 3.3): it corrects CAP's weights where the model's own label passes CAI's
    threshold.

    The thresholds are those of CAI, whether or not the recipe has CAI.
    """

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """``dr``: mean of log ω° over the labeled rows, with 0 for rows whose own label does not pass the threshold;
        scalar.
        """
        probabilities = out["labeled"].logits.detach().softmax(1)
        mask = class_aware_mask(probabilities, _thresholds(self, step))
        step.measured["dr.mask_ratio"] = mask.double().mean()
        log_weights = log_row_weights(step.shared["cap.propensity"], probabilities.argmax(1))
        return {"dr": torch.mean(log_weights * mask)}


def _thresholds(part: CAI | DoublyRobust, step: Step) -> Tensor:
    """τ · (p̂'[c] / max p̂')^β, (C,)."""
    confidence, beta = part.base.settings.confidence, part.settings.cai_beta
    return class_thresholds(step.next["class_prior"], confidence=confidence, beta=beta)
