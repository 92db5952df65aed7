"""RandAugment (Cubuk et al., 2020) in the variant of FixMatch and UDA: Pillow's RGBA images, alpha 0 outside.

Geometric operations leave transparent pixels where they find no image; these become 0.0 (gray) at the end.
AutoContrast, Equalize, Invert, Posterize and Solarize make the whole image opaque again. Alpha is carried as
a last channel. Magnitudes are whole numbers; policies are known on the host, with all their draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.constants import constant
from cissl.augment.families import Family, Op
from cissl.augment.triple import LARGEST_MAGNITUDE

# Random draws choose among these, in this order; Invert is AutoAugment's alone.
RANDOM_OPS = (
    "Identity",
    "AutoContrast",
    "Equalize",
    "Rotate",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "TranslateX",
    "TranslateY",
    "Posterize",
    "ShearY",
)
NAMES = (*RANDOM_OPS, "Invert")
SIGNED = np.isin(NAMES, ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"))

# Each operation's parameter by magnitude m.
_PARAMETER = {
    "Rotate": lambda m: int(m * 30 / 10),  # degrees
    "ShearX": lambda m: m * 0.3 / 10,
    "ShearY": lambda m: m * 0.3 / 10,
    "TranslateX": lambda m: m,  # pixels
    "TranslateY": lambda m: m,
    "Solarize": lambda m: 256 - int(m * 256 / 10),  # threshold
    "Posterize": lambda m: 4 - int(m * 4 / 10) - 1,  # bits beyond the first; from 10 on none is left, which is black
    "Color": lambda m: m * 1.8 / 10 + 0.1,  # ImageEnhance factor
    "Contrast": lambda m: m * 1.8 / 10 + 0.1,
    "Brightness": lambda m: m * 1.8 / 10 + 0.1,
    "Sharpness": lambda m: m * 1.8 / 10 + 0.1,
}
PARAMETERS = np.array([[float(_PARAMETER.get(name, float)(m)) for m in range(LARGEST_MAGNITUDE + 1)] for name in NAMES])

FAMILY = Family(
    {
        "Identity": Op(),
        "AutoContrast": Op(second="stretched", opaque=True),
        "Equalize": Op(second="equalized", opaque=True),
        "Rotate": Op(second="moved", move="rotate"),
        "Solarize": Op(second="solarized", opaque=True),
        "Color": Op(first="gray", weighted=True),
        "Contrast": Op(first="mean", weighted=True),
        "Brightness": Op(first="black", weighted=True),
        "Sharpness": Op(first="smoothed", weighted=True),
        "ShearX": Op(second="moved", move="shear_x"),
        "TranslateX": Op(second="moved", move="translate_x"),
        "TranslateY": Op(second="moved", move="translate_y"),
        "Posterize": Op(second="posterized", opaque=True),
        "ShearY": Op(second="moved", move="shear_y"),
        "Invert": Op(second="inverted", opaque=True),
    }
)


@constant
def truncation_table(device: torch.device) -> Tensor:
    """(256,) uint8: a pixel value's way through float and back, which truncates: 1..47 lose one."""
    pixels = np.arange(256, dtype=np.float32) * np.float32(2 / 255) - np.float32(1)
    halved = pixels * np.float32(0.5) + np.float32(0.5)
    return torch.from_numpy((halved * np.float32(255)).astype(np.uint8)).to(device)


def add_alpha(images: Tensor) -> Tensor:
    """(N, C, S, S) -> (N, C + 1, S, S) uint8: truncating conversion, opaque alpha appended."""
    pixels = truncation_table(images.device)[images.int()]
    return torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 1), value=255)


def remove_alpha(rgba: Tensor) -> Tensor:
    """(N, C + 1, S, S) uint8 -> (N, C, S, S) float32 in [-1, 1], 0.0 where alpha is 0."""
    return ops.to_float(rgba[:, :-1]).mul_(rgba[:, -1:] != 0)


def parameters(choice: np.ndarray, magnitude: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """What operations are given, (N, D) float64; see `transform`."""
    parameter = PARAMETERS[choice, magnitude]
    return np.where(negative & SIGNED[choice], -parameter, parameter)


def transform(images: Tensor, choice: np.ndarray, magnitude: np.ndarray, negative: np.ndarray) -> Tensor:
    """Apply D operations to each image, one after the other.

    Args:
        images: (N, C, S, S) uint8.
        choice: (N, D) places in NAMES; Identity where an operation is not to be applied.
        magnitude: (N, D) int64 in 0..LARGEST_MAGNITUDE.
        negative: (N, D) bool, the other way round for the operations that have a sign.

    Returns: (N, C, S, S) float32.
    """
    given = (choice, parameters(choice, magnitude, negative))
    return apply(images, *(torch.as_tensor(array, device=images.device) for array in given))


def apply(images: Tensor, choice: Tensor, parameter: Tensor) -> Tensor:
    """`transform` with the draws on the device, and the operations' parameters (N, D) float64."""
    return remove_alpha(FAMILY(add_alpha(images), choice, parameter, alpha=True))


def cut(images: Tensor, size: int, centres: Tensor | np.ndarray) -> Tensor:
    """Set a square of size // 2 pixels to each side of its centre to 0.0.

    centres: (N, 2) int64, **row then column**.
    """
    if size <= 0:
        return images
    centres = torch.as_tensor(centres, device=images.device).flip(1)
    return images.masked_fill(ops.square(size // 2, centres, images.shape[-1]), 0.0)


def default_cutout(side: int) -> int:
    """Cutout size of `rac` and `aac` in pixels: 16, or half of a smaller side."""
    return min(16, side // 2)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """D operations, then a cutout.

    Fields:
        cutout: size in pixels, 0 for none.
    """

    cutout: int = 0

    def draw(self, rng, side: int) -> dict[str, np.ndarray]:
        """What chance gives to each image: operations and their parameters, (N, D), and centres, (N, 2)."""
        raise NotImplementedError

    def apply(self, images: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        """(N, C, S, S) uint8 -> float32 in [-1, 1]."""
        return cut(apply(images, draws["choice"], draws["parameter"]), self.cutout, draws["centres"])


@dataclass(frozen=True, kw_only=True)
class RandAugment(Policy):
    """`count` operations drawn with replacement, then a cutout.

    Fields:
        magnitude: of every operation, or None: uniform in 1..9.
        probability: that a drawn operation is applied.
    """

    count: int = 2
    magnitude: int | None = None
    probability: float = 0.5

    def draw(self, rng, side: int) -> dict[str, np.ndarray]:
        choice = rng.integers(len(RANDOM_OPS), self.count)
        magnitude = 1 + rng.integers(9, self.count)
        if self.magnitude is not None:
            magnitude = np.full_like(magnitude, self.magnitude)
        uniform = rng.uniform(self.count, 2)
        centres = rng.integers(side, 2)
        choice = np.where(uniform[..., 0] < self.probability, choice, NAMES.index("Identity"))
        parameter = parameters(choice, magnitude, uniform[..., 1] > 0.5)
        return {"choice": choice, "parameter": parameter, "centres": centres}
