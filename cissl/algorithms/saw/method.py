"""SAW: smoothed adaptive weighting (Lai et al., ICML 2022)."""

import dataclasses

from torch import Tensor

from cissl.algorithms.contract import AddOn, Facts, Outputs, PseudoLabels, Step
from cissl.algorithms.maths.row_tables import put_rows
from cissl.algorithms.saw.card import Settings
from cissl.algorithms.saw.class_weights import class_weights, predicted_counts


class SAW(AddOn):
    """Class weights for both losses: from the labeled counts, and from the predictions for all unlabeled images.

    State:
        saw.table: the latest prediction for every unlabeled image, (N, C).
        saw.weights: class weights of the unlabeled loss, (C,).
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``saw.table`` (N, C), the latest probabilities of all images, and ``saw.weights`` (C,)."""
        return {
            "saw.table": facts.full((facts.unlabeled, facts.classes), 1 / facts.classes),
            "saw.weights": facts.full((facts.classes,), 1),
        }

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """``labeled``: the base's loss with rows weighted by class, scalar."""
        weights = self._weights(step.facts.labeled_counts, step.facts)
        return {"labeled": self.base.supervised(step, out, weights[step.targets])}

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``unlabeled``: the base's unlabeled loss with rows weighted by the class of their pseudo-labels, scalar."""
        probabilities = out["weak"].probabilities.detach()
        table = step.next["saw.table"] = put_rows(step.state["saw.table"], step.index["unlabeled"], probabilities)
        if (step.number + 1) % max(1, step.facts.steps_of(self.settings.epoch)) == 0:
            step.next["saw.weights"] = self._weights(predicted_counts(table), step.facts)
        weights = step.measured["saw.weights"] = step.state["saw.weights"]
        weighted = dataclasses.replace(pseudo, weights=pseudo.weights * weights[pseudo.classes])
        return {"unlabeled": self.base.consistency(step, out, weighted)}

    def _weights(self, counts: Tensor, facts: Facts) -> Tensor:
        settings = self.settings
        return class_weights(counts, settings.scheme, settings.constant, settings.normalize).to(facts.dtype)
