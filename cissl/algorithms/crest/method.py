"""CReST and CReST+: class-rebalancing self-training (Wei et al., CVPR 2021)."""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from cissl.algorithms.contract import AddOn, Facts, Outputs, PseudoLabels, Stage, Step, Survey
from cissl.algorithms.crest.card import PlusSettings, Settings
from cissl.algorithms.crest.rebalancing import (
    added_shares,
    class_distribution,
    class_lists,
    exponent,
    picked,
    row_weights,
)
from cissl.algorithms.maths.alignment import aligned, normalised
from cissl.errors import UserError

BUFFER = 128  # steps over which predictions are averaged
LABEL_DECAY = 0.999


class CReST(AddOn):
    """Training in generations. After each one, unlabeled images, mostly of rare classes, join the labeled set.

    Their labels are the predictions of the generation. Without further options CReST does not change the base's step.

    State:
        crest.counts: n, labeled images of each class at the start, (C,) int64.
        crest.positions, crest.classes: unlabeled images that this generation counts as labeled, (n,) int64 each.
        crest.p_model: mean predictions on weak views in the last 128 steps, oldest first, (128, C).
        crest.p_data: running mean of the labels, (C,).
    """

    settings: Settings

    def stages(self, facts: Facts) -> tuple[Stage, ...]:
        """Generations of equal length. Each starts from a fresh network."""
        generations = self.settings.num_generation
        return (Stage(1 / generations, fresh=True, restart_schedule=True),) * generations

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``crest.counts`` (C,) int64; ``crest.positions`` and ``crest.classes`` (n,) int64; ``crest.p_model`` (128, C)
        and ``crest.p_data`` (C,).

        Raises:
            UserError: an option needs a slot that the base does not have, or has no effect with this base.
        """
        self._check()
        C, nothing = facts.classes, torch.zeros(0, dtype=torch.int64, device=facts.device)
        return {
            "crest.counts": facts.labeled_counts,
            "crest.positions": nothing,
            "crest.classes": nothing,
            "crest.p_model": facts.full((BUFFER, C), 1 / C),
            "crest.p_data": facts.full((C,), 1 / C),
        }

    def between(self, survey: Survey, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The images that the next generation counts as labeled: positions and classes, (n,) int64."""
        settings, counts = self.settings, state["crest.counts"]
        probabilities = survey.outputs("unlabeled", network="average").probabilities
        lists = class_lists(probabilities, ~survey.facts.labeled_too)
        if settings.update_mode == "distribution":
            lists = picked(lists, added_shares(counts.tolist(), settings.alpha, settings.gamma))
        classes = [torch.full_like(rows, c) for c, rows in enumerate(lists)]
        return {"crest.counts": counts, "crest.positions": torch.cat(lists), "crest.classes": torch.cat(classes)}

    def extra_labeled(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The images that were added: positions and classes, (n,) int64."""
        return state["crest.positions"], state["crest.classes"]

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """The given probabilities (U, C), unchanged. The mean of the weak predictions is recorded in the state."""
        now = out["weak"].probabilities.detach().mean(0, keepdim=True)
        step.next["crest.p_model"] = torch.cat([step.state["crest.p_model"][1:], now])
        step.measured["crest.p_model"] = normalised(step.state["crest.p_model"].mean(0))
        return probabilities

    def labeled_terms(self, step: Step, out: dict[str, Outputs]) -> dict[str, Tensor]:
        """``labeled``: the base's loss with rows weighted by the rarity of their class, scalar. By default there is no
        term.
        """
        p_data, classes = step.state["crest.p_data"], torch.arange(step.facts.classes, device=step.targets.device)
        labels = (step.targets[:, None] == classes).to(p_data.dtype).mean(0)
        step.next["crest.p_data"] = LABEL_DECAY * p_data + (1 - LABEL_DECAY) * labels
        step.measured["crest.added"] = step.facts.labeled_counts - step.state["crest.counts"]
        if not self.settings.reweight_labeled:
            return {}
        return {"labeled": self.base.supervised(step, out, row_weights(normalised(p_data), step.targets))}

    def unlabeled_terms(self, step: Step, out: dict[str, Outputs], pseudo: PseudoLabels) -> dict[str, Tensor]:
        """``unlabeled``: the base's loss with sharpened targets, or divided by the number of kept rows, scalar.

        By default there is no term.
        """
        temperature, by_kept = self.settings.temperature, self.settings.unsup_loss_divisor == "quality"
        if not temperature and not by_kept:
            return {}
        if temperature:
            targets = normalised(pseudo.probabilities ** (1 / temperature))
            loss = self.base.soft_consistency(step, out, dataclasses.replace(pseudo, probabilities=targets))
        else:
            loss = self.base.consistency(step, out, pseudo)
        kept = pseudo.weights.sum().clamp_min(1)
        return {"unlabeled": loss * len(pseudo.weights) / kept if by_kept else loss}

    def _check(self) -> None:
        """Refuse options that need a slot that the base does not have, or that have no effect."""
        settings, base = self.settings, self.base.card
        wanted = {
            "reweight_labeled": ("labeled", settings.reweight_labeled),
            "temperature": ("unlabeled", settings.temperature > 0),
            "unsup_loss_divisor": ("unlabeled", settings.unsup_loss_divisor != "full"),
        }
        for name, (slot, on) in wanted.items():
            if on and slot not in base.slots:
                raise UserError(
                    f"crest.{name} changes the {slot} loss, and {base.title} lets no add-on do so; leave it out",
                    key=f"crest.{name}",
                )
        if settings.unsup_loss_divisor == "quality" and self.base.keeps_all:
            raise UserError(
                f"crest.unsup_loss_divisor: quality divides by the pseudo-labels kept, and {base.title} keeps all; "
                "leave it out",
                key="crest.unsup_loss_divisor",
            )


class CReSTPlus(CReST):
    """CReST whose pseudo-labels are aligned with the class distribution, more strongly in each generation."""

    settings: PlusSettings

    def guess(self, step: Step, out: dict[str, Outputs], probabilities: Tensor) -> Tensor:
        """The probabilities (U, C), aligned with the target distribution."""
        probabilities = super().guess(step, out, probabilities)
        return aligned(probabilities, self.target(step), normalised(step.state["crest.p_model"].mean(0)))

    def target(self, step: Step) -> Tensor:
        """The class distribution (C,) with which pseudo-labels are aligned."""
        settings = self.settings
        if settings.how_dalign == "labels":
            return normalised(step.state["crest.p_data"])
        t = settings.dalign_t
        if settings.how_dalign == "adaptive":
            t = exponent(step.stage, settings.num_generation, t)
        pi = class_distribution(step.state["crest.counts"], settings.gamma)
        return normalised(pi**t).to(step.facts.dtype)
