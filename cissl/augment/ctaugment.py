"""CTAugment (Berthelot et al., ReMixMatch, ICLR 2020): operations whose strength follows the model.

Notation: N images, D = depth operations an image, 19 operations, at most 2 levels an operation, at most 17
bins a level. A level lies in [0, 1); its bin has a rate, an exponential average (decay δ) of how well the
model predicts images whose probe fell into that bin. Levels are float64, as the bins' edges ask for; rates
are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.families import Family

# Bins of each operation's levels.
BINS: dict[str, tuple[int, ...]] = {
    "autocontrast": (17,),
    "blur": (17,),
    "brightness": (17,),
    "color": (17,),
    "contrast": (17,),
    "cutout": (17,),
    "equalize": (17,),
    "invert": (17,),
    "identity": (),
    "posterize": (8,),
    "rescale": (17, 6),
    "rotate": (17,),
    "sharpness": (17,),
    "shear_x": (17,),
    "shear_y": (17,),
    "smooth": (17,),
    "solarize": (17,),
    "translate_x": (17,),
    "translate_y": (17,),
}
LEVELS = 2
MOST_BINS = 17


# Operations by level: (images, level, second, centre) -> table, matrix or images. `level` and `second`, which
# only rescale has, are (R,) float64, `centre` is (R, 2) int64 for cutout.


def _factor(level: Tensor) -> Tensor:
    """Of ImageEnhance."""
    return 0.1 + 1.9 * level


def _signed(level: Tensor) -> Tensor:
    return 2 * level - 1


def _towards(table: Callable[[Tensor], Tensor]):
    """The identity's table blended with another one by the level."""

    def blended(images, level, second, centre):
        return ops.blend(ops.ramp(images.device), table(images).float(), level)

    return blended


def _rotate(images, level, second, centre):
    return ops.rotation((_signed(level) * 45).round_(), images.shape[-1])


def _cutout(images, level, second, centre):
    size = 1 + (level * images.shape[-1] * 0.499).long()
    return ops.cutout(images, size // 2, centre)


def _rescale(images, level, second, centre):
    side, scale = images.shape[-1], level * 0.25
    first, last = (scale * side).round_(), (side * (1 - scale)).round_()
    return ops.rescale(images, first.long(), last.long(), (second * 5.99).long())


# translate_x and translate_y move by at most 0.3 pixels to the nearest neighbour: they change nothing.
FAMILY = Family(
    tuple(BINS),
    tables={
        "autocontrast": _towards(ops.autocontrast_table),
        "equalize": _towards(ops.equalize_table),
        "invert": _towards(ops.invert_table),
        "brightness": lambda images, level, *_: ops.brightness_table(_factor(level)),
        "contrast": lambda images, level, *_: ops.contrast_table(images, _factor(level)),
        "posterize": lambda images, level, *_: ops.posterize_table(1 + (level * 7.999).floor()),
        "solarize": lambda images, level, *_: ops.solarize_table((level * 255.999).floor()),
    },
    matrices={
        "rotate": _rotate,
        "shear_x": lambda images, level, *_: ops.shear_x(_signed(level) * 0.3),
        "shear_y": lambda images, level, *_: ops.shear_y(_signed(level) * 0.3),
    },
    images={
        "blur": lambda images, level, *_: ops.blur(images, level),
        "smooth": lambda images, level, *_: ops.smooth(images, level),
        "color": lambda images, level, *_: ops.color(images, _factor(level)),
        "sharpness": lambda images, level, *_: ops.sharpness(images, _factor(level)),
        "cutout": _cutout,
        "rescale": _rescale,
    },
)


def apply(images: Tensor, choice: np.ndarray, levels: Tensor, centres: np.ndarray) -> Tensor:
    """Apply D operations to each image, one after the other.

    Args:
        images: (N, C, S, S) uint8.
        choice: (N, D) int64 on the host, places in BINS.
        levels: (N, D, 2) float64 on the images' device; levels that an operation lacks are ignored.
        centres: (N, D, 2) int64 on the host, column and row of the squares that `cutout` cuts.
    """
    centres = torch.from_numpy(centres).to(images.device, non_blocking=True)
    for slot in range(choice.shape[1]):
        images = FAMILY(images, choice[:, slot], *levels[:, slot].unbind(1), centres[:, slot])
    return images


def final_cutout(images: Tensor, centres: np.ndarray) -> Tensor:
    """Cutout at level 1, which ends every training policy: a square of 1 + ⌊0.499 S⌋ pixels.

    centres: (N, 2) int64 on the host, column and row.
    """
    half = torch.full((len(images),), (1 + int(images.shape[-1] * 0.499)) // 2, device=images.device)
    return ops.cutout(images, half, torch.from_numpy(centres).to(images.device, non_blocking=True))


@dataclass(frozen=True)
class ProbePolicy:
    """The probes' policies, one row an image, in the order of the images they were drawn for.

    `CTAugment.update` goes through the rows in order. To update from several workers' probes, gather each
    field along its first dimension so that rows lie in the order of the global batch.
    """

    ops: Tensor  # (N, D) int64, places in BINS
    levels: Tensor  # (N, D, 2) float64 in [0, 1); levels that an operation lacks are drawn and ignored


class CTAugment:
    """The rates, the policies drawn from them and their update.

    Args:
        depth: D, operations an image.
        threshold: bins whose probability, relative to the largest, is below this are not drawn.
        decay: δ.
    """

    def __init__(self, *, depth: int, threshold: float, decay: float, device: torch.device | str):
        self.depth, self.threshold, self.decay = depth, threshold, decay
        bins = torch.tensor([[*sizes, 0, 0][:LEVELS] for sizes in BINS.values()])
        self.bins = bins.to(device)  # (19, 2), 0 where an operation has no such level
        # A level that is not there counts as one bin, so that drawing needs no exception for it.
        self.drawable = (torch.arange(MOST_BINS) < bins.clamp(min=1).unsqueeze(2)).to(device)
        self.rates = torch.ones(len(BINS), LEVELS, MOST_BINS, dtype=torch.float32, device=device)

    def probabilities(self) -> Tensor:
        """(19, 2, 17) float32: rate + 1 - δ over its maximum in each row, 0 below the threshold."""
        q = (self.rates + (1 - self.decay)) * self.drawable
        q = q / q.amax(2, keepdim=True)
        return q * (q >= self.threshold)

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.rates.device, non_blocking=True)

    def draw(self, rng) -> tuple[np.ndarray, Tensor]:
        """A training policy an image: operations (N, D) on the host, levels (N, D, 2) on the device.

        An operation is uniform; a level is (bin + uniform) / bins, its bin drawn in proportion to
        `probabilities` by inverting their cumulative sum.
        """
        choice = rng.integers(len(BINS), self.depth)
        uniform = self._to_device(rng.uniform(self.depth, LEVELS, 2))
        p = self.probabilities()
        cumulative = (p / p.sum(2, keepdim=True)).cumsum(2, dtype=torch.float64)
        cumulative = cumulative / cumulative[:, :, -1:]
        drawn = self._to_device(choice)
        bins = (uniform[..., :1] >= cumulative[drawn]).sum(3)
        return choice, (bins + uniform[..., 1]) / self.bins[drawn].clamp(min=1)

    def draw_probe(self, rng) -> tuple[np.ndarray, ProbePolicy]:
        """Operations (N, D) on the host, and the probe policy with them: uniform operations and levels."""
        choice = rng.integers(len(BINS), self.depth)
        return choice, ProbePolicy(self._to_device(choice), self._to_device(rng.uniform(self.depth, LEVELS)))

    def update(self, policy: ProbePolicy, proximity: Tensor) -> None:
        """For each row, operation and level in order: rate[bin] <- δ rate[bin] + (1 - δ) proximity[row].

        In closed form: a bin used k times keeps δ^k of its rate, and its j-th use counts with δ^(k-j).
        Computed in float64 without atomic additions: all workers get the same bits from the same rows.

        Args:
            policy: N rows.
            proximity: (N,), 1 - ½‖softmax - onehot(y)‖₁ of the probes.
        """
        bins = self.bins[policy.ops]  # (N, D, 2)
        row = policy.ops.unsqueeze(2) * LEVELS + torch.arange(LEVELS, device=bins.device)
        cell = row * MOST_BINS + (policy.levels * bins * 0.999).long()
        cell = torch.where(bins > 0, cell, -1).flatten()
        later = (cell == cell.unsqueeze(1)).triu(1).sum(1)  # uses of the same bin still to come
        value = proximity.double().repeat_interleave(cell.numel() // len(proximity))
        gain = ((1 - self.decay) * self.decay ** later.double() * value).unsqueeze(1)
        uses = cell.unsqueeze(1) == torch.arange(self.rates.numel(), device=cell.device)
        # Not a product with `uses`: a NaN would spread from its own bins to all.
        gain = torch.where(uses, gain, 0.0).sum(0)
        kept = self.decay ** uses.sum(0).double()
        self.rates = (kept * self.rates.flatten().double() + gain).float().view_as(self.rates)
