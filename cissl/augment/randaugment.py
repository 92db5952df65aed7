"""RandAugment (Cubuk et al., 2020) in the variant of FixMatch and UDA: Pillow's RGBA images, alpha 0 outside.

Geometric operations leave transparent pixels where they find no image; these become 0.0 (gray) at the end.
AutoContrast, Equalize, Invert, Posterize and Solarize make the whole image opaque again. Alpha is carried as
a last channel. Magnitudes are whole numbers; policies are known on the host, with all their draws.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.families import Family
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
    "Posterize": lambda m: 4 - int(m * 4 / 10),  # bits; from 10 on none, which is black
    "Color": lambda m: m * 1.8 / 10 + 0.1,  # ImageEnhance factor
    "Contrast": lambda m: m * 1.8 / 10 + 0.1,
    "Brightness": lambda m: m * 1.8 / 10 + 0.1,
    "Sharpness": lambda m: m * 1.8 / 10 + 0.1,
}
PARAMETERS = np.array([[float(_PARAMETER.get(name, float)(m)) for m in range(LARGEST_MAGNITUDE + 1)] for name in NAMES])

FAMILY = Family(
    NAMES,
    tables={
        "AutoContrast": lambda images, _: ops.autocontrast_table(images),
        "Equalize": lambda images, _: ops.equalize_table(images),
        "Invert": lambda images, _: ops.invert_table(images),
        "Posterize": lambda images, bits: ops.posterize_table(bits),
        "Solarize": lambda images, threshold: ops.solarize_table(threshold),
        "Brightness": lambda images, factor: ops.brightness_table(factor),
        "Contrast": ops.contrast_table,
    },
    matrices={
        "Rotate": lambda images, degrees: ops.rotation(degrees, images.shape[-1]),
        "ShearX": lambda images, coefficient: ops.shear_x(coefficient),
        "ShearY": lambda images, coefficient: ops.shear_y(coefficient),
        "TranslateX": lambda images, pixels: ops.translation(pixels, 0),
        "TranslateY": lambda images, pixels: ops.translation(pixels, 1),
    },
    images={"Color": ops.color, "Sharpness": ops.sharpness},
    opaque=("AutoContrast", "Equalize", "Invert", "Posterize", "Solarize"),
)


@lru_cache(maxsize=16)
def truncation_table(device: torch.device) -> Tensor:
    """(256,) uint8: a pixel value's way through float and back, which truncates: 1..47 lose one."""
    pixels = np.arange(256, dtype=np.float32) * np.float32(2 / 255) - np.float32(1)
    halved = pixels * np.float32(0.5) + np.float32(0.5)
    return torch.from_numpy((halved * np.float32(255)).astype(np.uint8)).to(device)


def add_alpha(images: Tensor) -> Tensor:
    """(N, C, S, S) -> (N, C + 1, S, S) uint8: truncating conversion, opaque alpha appended."""
    pixels = ops.lookup(images, truncation_table(images.device).expand(*images.shape[:2], 256))
    return torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 1), value=255)


def remove_alpha(rgba: Tensor) -> Tensor:
    """(N, C + 1, S, S) uint8 -> (N, C, S, S) float32 in [-1, 1], 0.0 where alpha is 0."""
    return ops.to_float(rgba[:, :-1]).mul_(rgba[:, -1:] != 0)


def transform(images: Tensor, choice: np.ndarray, magnitude: np.ndarray, negative: np.ndarray) -> Tensor:
    """Apply D operations to each image, one after the other.

    Args:
        images: (N, C, S, S) uint8.
        choice: (N, D) places in NAMES; Identity where an operation is not to be applied.
        magnitude: (N, D) int64 in 0..LARGEST_MAGNITUDE.
        negative: (N, D) bool, the other way round for the operations that have a sign.

    Returns: (N, C, S, S) float32.
    """
    parameter = PARAMETERS[choice, magnitude]
    parameter = torch.from_numpy(np.where(negative & SIGNED[choice], -parameter, parameter))
    parameter = parameter.to(images.device, non_blocking=True)
    rgba = add_alpha(images)
    for slot in range(choice.shape[1]):
        rgba = FAMILY(rgba, choice[:, slot], parameter[:, slot], alpha=True)
    return remove_alpha(rgba)


def cut(images: Tensor, size: int, centres: np.ndarray) -> Tensor:
    """Set a square of size // 2 pixels to each side of its centre to 0.0.

    centres: (N, 2) int64 on the host, **row then column**.
    """
    if size <= 0:
        return images
    half = torch.full((len(images),), size // 2, device=images.device)
    centres = torch.from_numpy(centres[:, ::-1].copy()).to(images.device, non_blocking=True)
    return images * (1 - ops.square(half, centres, images.shape[-1]))


def default_cutout(side: int) -> int:
    """Cutout size of `rac` and `aac` in pixels: 16, or half of a smaller side."""
    return min(16, side // 2)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """`count` operations drawn with replacement, then a cutout.

    Fields:
        magnitude: of every operation, or None: uniform in 1..9.
        probability: that a drawn operation is applied.
        cutout: size in pixels, 0 for none.
    """

    count: int = 2
    magnitude: int | None = None
    probability: float = 0.5
    cutout: int = 0

    def __call__(self, images: Tensor, rng) -> Tensor:
        """(N, C, S, S) uint8 -> float32 in [-1, 1]."""
        choice = rng.integers(len(RANDOM_OPS), self.count)
        magnitude = 1 + rng.integers(9, self.count)
        if self.magnitude is not None:
            magnitude = np.full_like(magnitude, self.magnitude)
        uniform = rng.uniform(self.count, 2)
        centres = rng.integers(images.shape[-1], 2)
        choice = np.where(uniform[..., 0] < self.probability, choice, NAMES.index("Identity"))
        return cut(transform(images, choice, magnitude, uniform[..., 1] > 0.5), self.cutout, centres)
