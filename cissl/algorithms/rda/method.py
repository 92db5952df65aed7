"""RDA: Reciprocal Distribution Alignment (Duan et al., ECCV 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.algorithms.contract import Facts, Losses, PseudoLabels, Step
from cissl.algorithms.fixmatch.losses import update_class_prior
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.algorithms.maths.mixing import soft_cross_entropy
from cissl.algorithms.rda.card import Settings
from cissl.algorithms.rda.reciprocal_alignment import reciprocal


class RDA(FixMatch):
    """FixMatch's views, with labels from predictions that are aligned with those of a reverse head.

    State:
        distribution, reverse_distribution: D and R, mean predictions of each of the latest batches, (nb, C).
        slot: which of the batches is written next, int64 scalar.
    """

    settings: Settings
    keeps_all = True

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``reverse``: the reverse classifier, (n, width) → (n, C)."""
        return {"reverse": nn.Linear(width, classes)}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """FixMatch's state; ``distribution`` and ``reverse_distribution`` (nb, C); ``slot``, an int64 scalar."""
        ones = facts.full((self.settings.nb, facts.classes), 1.0)
        slot = facts.full((), 0, torch.int64)
        return super().state(facts) | {"distribution": ones, "reverse_distribution": ones, "slot": slot}

    def losses(self, step: Step) -> Losses:
        """The labeled and the unlabeled losses of both heads, scalars."""
        settings = self.settings
        out = step.forward(*self.views)
        labeled_r, weak_r, strong_r = (out[view].head("reverse") for view in self.views)
        weak = out["weak"].probabilities.detach()
        step.next["class_prior"] = update_class_prior(step.state["class_prior"], weak, settings.cap_ema_momentum)

        labeled = {"labeled": self.supervised(step, out)} | step.labeled_terms(out)
        labeled["reverse_labeled"] = F.cross_entropy(labeled_r, complementary_labels(step))
        aligned, targets_r = self.align(step, weak, weak_r.detach().softmax(1))
        everything = torch.ones(len(weak), dtype=torch.bool, device=weak.device)
        pseudo = PseudoLabels(aligned.argmax(1), everything, aligned)
        unlabeled = {"unlabeled": self.consistency(step, out, pseudo)}
        unlabeled["reverse"] = soft_cross_entropy(strong_r, targets_r)
        unlabeled |= step.unlabeled_terms(out, pseudo)
        step.shared["reverse_targets"] = targets_r
        return Losses(
            labeled=labeled,
            unlabeled=unlabeled,
            weights={"unlabeled": settings.wu, "reverse": settings.wu},
            pseudo=pseudo,
        )

    def align(self, step: Step, p: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Write the batch's means. Then align p and r (U, C) with the complement of the other head's; (U, C) each."""
        state, slot = step.state, step.state["slot"]
        D, R = (
            state[name].index_copy(0, slot[None], probabilities.mean(0, keepdim=True))
            for name, probabilities in (("distribution", p), ("reverse_distribution", r))
        )
        step.next.update(distribution=D, reverse_distribution=R, slot=(slot + 1) % len(D))
        by_row = self.settings.row_normalised
        return reciprocal(p, D, R, by_row=by_row), reciprocal(r, R, D, by_row=by_row)


def complementary_labels(step: Step) -> Tensor:
    """A random wrong class for each labeled row, (B,) int64."""
    others = step.random("complementary").integers(step.facts.classes - 1, len(step.targets))
    return others + (others >= step.targets)
