"""ReMixMatch's training step (Berthelot et al., 2020), as in its authors' program.

Notation: B labeled and B unlabeled images; K strong views of the unlabeled ones, n = K + 2 lists of B rows in all;
C classes; m̄ and d class distributions of the guesses and of the labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.algorithms.contract import LABELED, STRONG, WEAK, Base, Facts, Losses, PseudoLabels, Step
from cissl.algorithms.maths.alignment import aligned, normalised
from cissl.algorithms.maths.heads import xavier_linear
from cissl.algorithms.maths.mixing import brier, ramp_up, sharpen, soft_cross_entropy
from cissl.algorithms.mixmatch.method import mixed_logits, mixed_up
from cissl.algorithms.remixmatch.card import Settings
from cissl.algorithms.remixmatch.rotation import rotated
from cissl.errors import UserError


class ReMixMatch(Base):
    """MixMatch with strong views whose targets are aligned guesses, and a head that recognises rotations.

    State:
        p_model: mean guess of each of the last steps, oldest first, (dbuf, C). m̄ is their mean.
        p_data: d, running mean of the labels, or the given distribution, (C,).
    """

    settings: Settings
    keeps_all = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.strong_views = ("strong", *(f"strong{number}" for number in range(2, settings.k + 1)))
        self.views = {"labeled": LABELED, "weak": WEAK, **dict.fromkeys(self.strong_views, STRONG)}

    def heads(self, width: int, classes: int) -> dict[str, nn.Module]:
        """``rotation``: (n, width) → (n, 4). There is no head if the rotation loss has weight 0."""
        if not self.settings.w_rot:
            return {}
        return {"rotation": xavier_linear(width, 4)}

    def state(self, facts: Facts) -> dict[str, Tensor]:
        """``p_model`` (dbuf, C) and ``p_data`` (C,).

        Raises:
            UserError: the batch is not a multiple of 4, or ``p_unlabeled`` does not have one number for each class.
        """
        self._check(facts)
        C, known = facts.classes, self.settings.known_marginal
        return {
            "p_model": facts.full((self.settings.dbuf, C), 1 / C),
            "p_data": facts.full((C,), 1 / C) if known is None else facts.tensor(known),
        }

    def losses(self, step: Step) -> Losses:
        """The losses of mixed rows, of the strong view before mixing, and of rotations; scalars."""
        settings = self.settings
        unlabeled = {"rotation": self.rotation_loss(step)} if settings.w_rot else {}

        guess, strong = self.guesses(step)
        targets = sharpen(self.align(step, guess), settings.temperature)
        B, weak_targets = len(step.targets), targets[: len(step.targets)]
        if strong is not None:
            unlabeled["kl"] = soft_cross_entropy(strong, weak_targets)

        one_hot = torch.eye(step.facts.classes, dtype=guess.dtype, device=guess.device)[step.targets]
        images = [step.gather(step.view(name)).to(guess.dtype) for name in self.views]
        labels = [one_hot, *torch.split(targets, B)]
        mixed, mixed_targets = mixed_up(step, images, labels, beta=settings.beta, mode=settings.mixmode)
        logits = mixed_logits(step, mixed, moving=-1)
        labeled = soft_cross_entropy(logits[:B], mixed_targets[:B])
        mismatch = soft_cross_entropy if settings.use_xe else brier
        unlabeled["unlabeled"] = mismatch(logits[B:], mixed_targets[B:])

        self.remember(step, guess, one_hot)
        step.shared.update(guess=guess, targets=targets, mixed_targets=mixed_targets)
        ramp = ramp_up(step.number, settings.warmup_kimg * step.facts.kimg_steps)
        everything = torch.ones(B, dtype=torch.bool, device=guess.device)
        return Losses(
            labeled={"labeled": labeled},
            unlabeled=unlabeled,
            weights={"unlabeled": settings.w_match * ramp, "kl": settings.w_kl * ramp, "rotation": settings.w_rot},
            pseudo=PseudoLabels(weak_targets.argmax(1), everything, weak_targets),
        )

    def rotation_loss(self, step: Step) -> Tensor:
        """Cross-entropy of the rotation head on the first strong view in four orientations, scalar."""
        images, turns = rotated(step.gather(step.view("strong")))
        out = step.network(step.share(images), update_averages=False)
        return F.cross_entropy(out.head("rotation"), turns)

    def guesses(self, step: Step) -> tuple[Tensor, Tensor | None]:
        """The guesses that each view's target is made from, and the first strong view's logits with gradient.

        Each view is a separate batch for BatchNorm, and its averages do not change.

        Returns:
            Guesses of all views, one view below the other, ((K + 1) · B, C) without gradient. Logits (B, C), or None if
            the strong view has no loss of its own.
        """
        redux, with_loss = self.settings.redux, self.settings.w_kl > 0
        names = ("weak", *self.strong_views)
        wanted = names if redux != "1st" else names[: 1 + with_loss]
        logits = []
        for name in wanted:
            with torch.set_grad_enabled(with_loss and name == "strong"):
                logits.append(step.network(step.view(name), update_averages=False).logits)
        p = [view.detach().softmax(1) for view in logits]
        if redux == "swap":
            guess = [*p[1:], p[0]]
        else:
            guess = [p[0] if redux == "1st" else torch.stack(p).mean(0)] * len(names)
        return torch.cat(guess), logits[1] if with_loss else None

    def align(self, step: Step, guess: Tensor) -> Tensor:
        """The guesses (n, C), aligned by the distributions before this step."""
        model, target = normalised(step.state["p_model"].mean(0)), normalised(step.state["p_data"])
        step.measured.update(p_model=model, p_data=target)
        return aligned(guess, target, model) if self.settings.use_dm else guess

    def remember(self, step: Step, guess: Tensor, one_hot: Tensor) -> None:
        """Update both running distributions with the guesses (rows, C) before alignment and with the labels (B, C)."""
        step.next["p_model"] = torch.cat([step.state["p_model"][1:], guess.mean(0, keepdim=True)])
        if self.settings.known_marginal is None:
            decay = self.settings.p_data_decay
            step.next["p_data"] = decay * step.state["p_data"] + (1 - decay) * one_hot.mean(0)

    def _check(self, facts: Facts) -> None:
        """Refuse a batch or a distribution that does not fit the data, before the training starts."""
        if self.settings.w_rot and facts.batch % 4:
            raise UserError(
                f"ReMixMatch turns a quarter of each batch in each direction, and batch {facts.batch} is not a "
                f"multiple of 4; use {facts.batch // 4 * 4 + 4}, or w_rot: 0",
                key="batch",
            )
        known = self.settings.known_marginal
        if known is not None and len(known) != facts.classes:
            raise UserError(
                f"p_unlabeled has {len(known)} numbers for {facts.classes} classes: give one for each",
                key="p_unlabeled",
            )
