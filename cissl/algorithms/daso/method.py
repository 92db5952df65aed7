"""DASO: distribution-aware semantics-oriented pseudo-labels (Oh et al., CVPR 2022).

Notation: P probabilities of the linear head, S probabilities of the prototypes, (U, C) each; a share of S in the blend
of a row, (U,).
"""

import torch
from torch import Tensor

from cissl.algorithms.contract import AddOn, Facts, Outputs, PseudoLabels, Step, class_counts
from cissl.algorithms.daso.card import Settings
from cissl.algorithms.daso.prototypes import means, prototype_shares, remembered, similarities
from cissl.algorithms.maths.mixing import soft_cross_entropy
from cissl.errors import UserError


class DASO(AddOn):
    """Pseudo-labels from (1 − a) P + a S. The share a is larger for classes that are more often the label.

    State:
        daso.bank: latest features of each class's labeled images, from the averaged network, (C, queue_size, D).
        daso.seen: how many features of each class were put there, (C,) int64.
        daso.prototypes: M, mean of each class's features, (C, D).
        daso.counts: pseudo-labels of each class in the last complete period, (C,) int64.
        daso.histogram: pseudo-labels of each class in this period, (C,) int64.
        daso.pretraining: whether the prototypes do not count yet, bool scalar.
    """

    settings: Settings

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``daso.bank`` (C, queue_size, D), ``daso.prototypes`` (C, D), and ``daso.pretraining``, a bool scalar;
        ``daso.seen``, ``daso.counts`` and ``daso.histogram`` (C,) int64.

        Raises:
            UserError: ``daso.logit_adjust`` is set, and the base has no slot for it.
        """
        self._check()
        nothing = facts.full((facts.classes,), 0, torch.int64)
        return {
            "daso.bank": facts.full((facts.classes, self.settings.queue_size, facts.width), 0),
            "daso.prototypes": facts.full((facts.classes, facts.width), 0),
            "daso.pretraining": facts.full((), True, torch.bool),
            **dict.fromkeys(("daso.seen", "daso.counts", "daso.histogram"), nothing),
        }

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """``labeled``: the base's labeled loss with adjusted logits, scalar."""
        if not self.settings.logit_adjust:
            return {}
        shares = step.facts.labeled_counts.to(step.facts.dtype) / step.facts.labeled
        logits = out["labeled"].logits + self.settings.logit_adjust * shares.log()
        return {"labeled": self.base.supervised(step, {**out, "labeled": out["labeled"].with_logits(logits)})}

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """A blend (U, C) of the classifier's probabilities and those of the prototypes."""
        prototypes = self.prototypes(step)
        weak = out["weak"].features.detach()
        S = similarities(weak, prototypes, self.settings.proto_temp).softmax(1)
        step.shared["daso.prototypes"], step.shared["daso.targets"] = prototypes, S
        a = self.shares(step)[probabilities.argmax(1), None]
        return (1 - a) * probabilities + a * S

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``daso``: strong views resemble the same prototypes as their weak views, scalar."""
        self.count(step, pseudo.classes)
        settings, views = self.settings, self.base.strong_views
        strong = torch.cat([out[view].features for view in views])
        logits = similarities(strong, step.shared["daso.prototypes"], settings.proto_temp)
        loss = soft_cross_entropy(logits, step.shared["daso.targets"].repeat(len(views), 1))
        return {"daso": torch.where(step.state["daso.pretraining"], 0, settings.psa_loss_weight * loss)}

    def prototypes(self, step: Step) -> Tensor:
        """M, (C, D), after this batch."""
        state, targets = step.state, step.targets
        features = step.teacher(step.view("labeled"), batch_statistics=True).features
        bank, seen = remembered(state["daso.bank"], state["daso.seen"], features, targets)
        present = seen > state["daso.seen"]
        prototypes = torch.where(present[:, None], means(bank, seen), state["daso.prototypes"])
        step.next |= {"daso.bank": bank, "daso.seen": seen, "daso.prototypes": prototypes}
        return prototypes

    def shares(self, step: Step) -> Tensor:
        """Share of the prototypes in the labels of each class, (C,); 0 in the pretraining."""
        counts, alpha = step.state["daso.counts"].to(step.facts.dtype), self.settings.interp_alpha
        shares = prototype_shares(counts, self.settings.dist_temp) if alpha is None else torch.full_like(counts, alpha)
        shares = torch.where(step.state["daso.pretraining"], 0, shares)
        step.measured["daso.shares"] = shares
        return shares

    def count(self, step: Step, classes: Tensor) -> None:
        """Add the labels (U,) to the histogram. End the period and the pretraining if this is their last step."""
        settings, facts, done = self.settings, step.facts, step.number + 1
        counts = step.state["daso.counts"]
        histogram = step.state["daso.histogram"] + class_counts(classes, facts.classes)
        if done % max(1, facts.steps_of(settings.pl_dist_update_period)) == 0:
            counts, histogram = histogram, torch.zeros_like(histogram)
        step.next |= {"daso.counts": counts, "daso.histogram": histogram}
        if done >= facts.steps_of(settings.pretrain_steps):
            uncounted = counts.sum() == 0 if settings.interp_alpha is None else False
            step.next["daso.pretraining"] = step.state["daso.pretraining"] & uncounted

    def _check(self) -> None:
        """Refuse logit adjustment if the base has no slot for it."""
        if self.settings.logit_adjust and "labeled" not in self.base.card.slots:
            raise UserError(
                f"daso.logit_adjust changes the labeled loss, and {self.base.card.title} lets no add-on do so; "
                "leave it out",
                key="daso.logit_adjust",
            )
