"""CTAugment (Berthelot et al., ReMixMatch, ICLR 2020): the strength of operations follows the model.

Notation: N images, D = depth operations for each image, 19 operations, at most 2 levels of an operation, at most 17
bins of a level. A level is in [0, 1). Its bin has a rate: an exponential average (decay δ) of how well the model
predicts images whose probe was in this bin. Levels are float64, because the edges of the bins need it. Rates are
float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.constants import constant
from cissl.augment.families import Family, Op
from cissl.augment.row_draws import RowDraws

# Number of bins of each operation's levels.
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


FAMILY = Family(
    {
        "autocontrast": Op(second="stretched", weighted=True),
        "blur": Op(second="blurred", weighted=True),
        "brightness": Op(first="black", weighted=True),
        "color": Op(first="gray", weighted=True),
        "contrast": Op(first="mean", weighted=True),
        "cutout": Op(second="cut"),
        "equalize": Op(second="equalized", weighted=True),
        "invert": Op(second="inverted", weighted=True),
        "identity": Op(),
        "posterize": Op(second="posterized"),
        "rescale": Op(second="rescaled"),
        "rotate": Op(second="moved", move="rotate"),
        "sharpness": Op(first="smoothed", weighted=True),
        "shear_x": Op(second="moved", move="shear_x"),
        "shear_y": Op(second="moved", move="shear_y"),
        "smooth": Op(second="smoothed", weighted=True),
        "solarize": Op(second="solarized"),
        # These move by at most 0.3 pixels to the nearest neighbour, which changes nothing.
        "translate_x": Op(),
        "translate_y": Op(),
    }
)
_FACTOR, _SIGNED = (1.9, 0.1), (2, -1)


def _scales(side: int) -> dict[str, tuple[float, float, float]]:
    """(a, b, c) of operations whose value is (a · level + b) · c. The value of all other operations is the level."""
    scales: dict[str, tuple[float, float, float]] = {
        "posterize": (7.999, 0, 1),
        "solarize": (255.999, 0, 1),
        "cutout": (side, 0, 0.499),
        "rescale": (0.25, 0, 1),
    }
    for name in ("brightness", "color", "contrast", "sharpness"):
        scales[name] = (*_FACTOR, 1)
    for name, largest in {"rotate": 45, "shear_x": 0.3, "shear_y": 0.3}.items():
        scales[name] = (*_SIGNED, largest)
    return scales


@constant
def _scale_table(side: int, device: torch.device) -> Tensor:
    """(19, 3) float64."""
    scales = _scales(side)
    return torch.tensor([scales.get(name, (1, 0, 1)) for name in BINS], dtype=torch.float64, device=device)


def apply(images: Tensor, choice: Tensor | np.ndarray, levels: Tensor, centres: Tensor | np.ndarray) -> Tensor:
    """Apply D operations to each image, one after the other.

    Args:
        images: (N, C, S, S) uint8.
        choice: places in BINS, (N, D) int64.
        levels: (N, D, 2) float64. Levels that an operation does not have are ignored.
        centres: column and row of the squares that `cutout` cuts, (N, D, 2) int64.
    """
    choice, centres = (torch.as_tensor(array, device=images.device) for array in (choice, centres))
    a, b, c = _scale_table(images.shape[-1], images.device)[choice].unbind(2)
    level, second = levels.unbind(2)
    return FAMILY(images, choice, (a * level + b) * c, second, centres)


def final_cutout_(images: Tensor, centres: Tensor | np.ndarray) -> Tensor:
    """Cut a square of 1 + ⌊0.499 S⌋ pixels out of each image, in place. This cutout at level 1 ends every policy.

    Args:
        images: (N, C, S, S) uint8, modified in place and returned.
        centres: column and row of the squares, (N, 2) int64.
    """
    half = (1 + int(images.shape[-1] * 0.499)) // 2
    centres = torch.as_tensor(centres, device=images.device)
    return images.masked_fill_(ops.square(half, centres, images.shape[-1]), ops.CUT)


@dataclass(frozen=True)
class ProbePolicy:
    """The policies of the probes, one row for each image, in the order of the images.

    `CTAugment.update` reads the rows in order. To update from the probes of several workers, gather each field along
    its first dimension so that rows are in the order of the global batch.

    Attributes:
        ops: operations as places in BINS, (N, D) int64.
        levels: (N, D, 2) float64 in [0, 1). Levels that an operation does not have are drawn and ignored.
    """

    ops: Tensor
    levels: Tensor


class CTAugment:
    """The rates, the policies that are drawn from them, and their update.

    Args:
        depth: D, operations for each image.
        threshold: smallest probability, relative to the largest, with which a bin is drawn.
        decay: δ.
        device: device of the rates.
    """

    def __init__(self, *, depth: int, threshold: float, decay: float, device: torch.device | str) -> None:
        self.depth, self.threshold, self.decay = depth, threshold, decay
        bins = torch.tensor([[*sizes, 0, 0][:LEVELS] for sizes in BINS.values()])
        self.bins = bins.to(device)  # (19, 2), 0 where an operation has no such level
        # A level that an operation does not have counts as one bin, so that drawing needs no exception.
        self.divisors = self.bins.clamp(min=1)
        self.drawable = (torch.arange(MOST_BINS) < bins.clamp(min=1).unsqueeze(2)).to(device)
        self.rates = torch.ones(len(BINS), LEVELS, MOST_BINS, dtype=torch.float32, device=device)
        # Of the flattened rates: all places, and the first of each level; −1, which is none, where there is no level.
        self._cells = torch.arange(self.rates.numel(), device=device)
        self._first_cell = torch.arange(0, bins.numel() * MOST_BINS, MOST_BINS).view_as(bins)
        self._first_cell = self._first_cell.masked_fill_(bins == 0, -1).to(device)
        self._zero = torch.zeros((), dtype=torch.float64, device=device)

    def probabilities(self) -> Tensor:
        """Relative probability of each bin, (19, 2, 17) float32: rate + 1 − δ over its maximum in each row.

        Bins below the threshold have 0.
        """
        q = (self.rates + (1 - self.decay)) * self.drawable
        q = q / q.amax(2, keepdim=True)
        return q * (q >= self.threshold)

    def draw(self, rngs: Sequence[RowDraws], side: int, probe_rng: RowDraws | None = None) -> dict[str, np.ndarray]:
        """Draw the random numbers of images and their probes.

        Args:
            rngs: one generator for each batch of images.
            side: side of the images; centres are from 0 to side − 1.
            probe_rng: generator of P probes, whose rows come last. None: there are no probes.

        Returns:
            ``choice`` (N + P, D) int64, uniform operations. ``uniform`` (N, D, 2, 2), see `levels`. ``centres``
            (N + P, D + 1, 2) int64 of the squares that operations cut; the last one belongs to the final cutout, which
            probes do not have. ``levels`` (P, D, 2) of the probes.
        """
        drawn = [
            (
                rng.integers(len(BINS), self.depth),
                rng.uniform(self.depth, LEVELS, 2),
                rng.integers(side, self.depth + 1, 2),
            )
            for rng in rngs
        ]
        choice, uniform, centres = map(list, zip(*drawn, strict=True))
        draws = {}
        if probe_rng is not None:
            choice.append(probe_rng.integers(len(BINS), self.depth))
            draws["levels"] = probe_rng.uniform(self.depth, LEVELS)
            centres.append(np.pad(probe_rng.integers(side, self.depth, 2), ((0, 0), (0, 1), (0, 0))))
        joined = {"choice": choice, "uniform": uniform, "centres": centres}
        return draws | {name: np.concatenate(parts) for name, parts in joined.items()}

    def levels(self, choice: Tensor, uniform: Tensor) -> Tensor:
        """Levels (N, D, 2) float64 of training policies, with all arguments on the device.

        A level is (bin + uniform) / bins. The bin is drawn in proportion to `probabilities`, by inverting their
        cumulative sum.

        Args:
            choice: operations, (N, D) int64.
            uniform: two numbers for each level, one for the bin and one within it, (N, D, 2, 2) float64.
        """
        p = self.probabilities()
        cumulative = (p / p.sum(2, keepdim=True)).cumsum(2, dtype=torch.float64)
        cumulative = cumulative / cumulative[:, :, -1:]
        bins = (uniform[..., :1] >= cumulative[choice]).sum(3)
        return (bins + uniform[..., 1]) / self.divisors[choice]

    def update(self, policy: ProbePolicy, proximity: Tensor) -> None:
        """For each row, operation and level in order: rate[bin] ← δ rate[bin] + (1 − δ) proximity[row].

        This is computed in closed form: a bin that is used k times keeps δ^k of its rate, and its j-th use counts with
        δ^(k−j). It is computed in float64 without atomic additions, so that all workers get the same bits.

        Args:
            policy: N rows.
            proximity: 1 − ½‖softmax − onehot(y)‖₁ of the probes, (N,) float.
        """
        bins = (policy.levels * self.bins[policy.ops] * 0.999).long()  # (N, D, 2)
        cell = (self._first_cell[policy.ops] + bins).flatten()
        later = (cell == cell.unsqueeze(1)).triu(1).sum(1)  # later uses of the same bin
        value = proximity.double().repeat_interleave(cell.numel() // len(proximity))
        gain = ((1 - self.decay) * self.decay ** later.double() * value).unsqueeze(1)
        uses = cell.unsqueeze(1) == self._cells
        # A product with `uses` would spread a NaN from its own bins to all.
        gain = torch.where(uses, gain, self._zero).sum(0)
        kept = self.decay ** uses.sum(0).double()
        self.rates = (kept * self.rates.flatten().double() + gain).float().view_as(self.rates)
