"""MixMatch's training step (Berthelot et al., 2019), as in FixMatch's authors' program.

Notation: B labeled and B unlabeled images; ν weak views of the unlabeled ones; n = ν + 1 lists of B rows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cissl.algorithms.contract import LABELED, WEAK, Base, Losses, PseudoLabels, Step
from cissl.algorithms.maths.mixing import brier, interleave, mix, ramp_up, sharpen, soft_cross_entropy
from cissl.algorithms.mixmatch.card import Settings


class MixMatch(Base):
    """Weak views vote for a label, and images are mixed with each other together with their labels."""

    settings: Settings
    keeps_all = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.views = {"labeled": LABELED, **dict.fromkeys(weak_names(settings.nu), WEAK)}

    def losses(self, step: Step) -> Losses:
        """Cross-entropy of mixed labeled rows and Brier score of mixed unlabeled rows, scalars."""
        settings = self.settings
        weak = weak_names(settings.nu)
        guess = guessed(step, weak)
        targets = sharpen(guess, settings.temperature)

        one_hot = torch.eye(step.facts.classes, dtype=guess.dtype, device=guess.device)[step.targets]
        images = [step.gather(step.view(name)).to(guess.dtype) for name in ("labeled", *weak)]
        labels = [one_hot, *[targets] * len(weak)]
        mixed, mixed_targets = mixed_up(step, images, labels, beta=settings.beta, mode=settings.mixmode)
        step.shared["mixed_targets"] = mixed_targets
        logits = mixed_logits(step, mixed, moving=0)

        B = len(one_hot)
        labeled = soft_cross_entropy(logits[:B], mixed_targets[:B])
        unlabeled = brier(logits[B:], mixed_targets[B:])
        weight = settings.w_match * ramp_up(step.number, settings.warmup_kimg * step.facts.kimg_steps)
        everything = torch.ones(B, dtype=torch.bool, device=guess.device)
        return Losses(
            labeled={"labeled": labeled},
            unlabeled={"unlabeled": unlabeled},
            weights={"unlabeled": weight},
            pseudo=PseudoLabels(targets.argmax(1), everything, targets),
        )


def weak_names(count: int) -> tuple[str, ...]:
    """Names of `count` independent weak views: weak, weak2, weak3, …."""
    return ("weak", *(f"weak{number}" for number in range(2, count + 1)))


@torch.no_grad()
def guessed(step: Step, views: Sequence[str]) -> Tensor:
    """Mean of the views' probabilities, (B, C). Each view is a separate batch for BatchNorm, and its averages do not
    change.
    """
    outputs = [step.network(step.view(name), update_averages=False) for name in views]
    return torch.stack([out.probabilities for out in outputs]).mean(0)


def mixed_up(
    step: Step, images: Sequence[Tensor], targets: Sequence[Tensor], *, beta: float, mode: str
) -> tuple[Tensor, Tensor]:
    """All rows mixed with other rows, (n · B, …), and their targets (n · B, C).

    In mode ``xxy.yxy`` every row may be mixed with any other row. In ``xx.yxy`` labeled rows are mixed with labeled
    ones.

    Args:
        step: gives the random numbers.
        images: n lists (B, channels, H, W) of the global batch, the labeled one first.
        targets: n lists (B, C).
        beta: α, both parameters of the Beta distribution of the mixing shares.
        mode: ``"xxy.yxy"`` or ``"xx.yxy"``.
    """
    X, Y, B = torch.cat(list(images)), torch.cat(list(targets)), len(images[0])
    parts = [(0, B), (B, len(X))] if mode == "xx.yxy" else [(0, len(X))]
    mixed = []
    for number, (first, last) in enumerate(parts):
        draws = step.random(f"mix {number}")
        rows = last if first else last - first  # in xx.yxy the unlabeled rows are drawn together with the labeled ones
        shares = draws.beta(beta, beta, rows).to(Y)
        order = draws.permutation(rows)
        mixed.append([mix(part[:rows], part[:rows][order], shares)[first:] for part in (X, Y)])
    return torch.cat([images for images, _ in mixed]), torch.cat([targets for _, targets in mixed])


def mixed_logits(step: Step, mixed: Tensor, *, moving: int) -> Tensor:
    """Logits (n · B, C) of mixed images. They go through the network in n interleaved batches.

    Args:
        step: gives the network.
        mixed: (n · B, channels, H, W) of the global batch.
        moving: number of the batch that updates BatchNorm's averages; −1 for the last one.
    """
    B = len(step.targets)
    batches = interleave(torch.split(mixed, B))
    moving %= len(batches)
    logits = [step.network(step.share(x), update_averages=i == moving).logits for i, x in enumerate(batches)]
    return torch.cat(interleave(logits))
