"""RandAugment (Cubuk et al., 2020) in the variant of FixMatch and UDA: Pillow's RGBA images, with alpha 0 outside.

Geometric operations leave transparent pixels where they read outside the image. These pixels become 0.0 (gray) at the
end. AutoContrast, Equalize, Invert, Posterize and Solarize make the whole image opaque again. Alpha is the last
channel. Magnitudes are whole numbers. The host knows the policies and draws all their random numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cissl.augment import ops
from cissl.augment.constants import constant
from cissl.augment.families import Family, Op
from cissl.augment.row_draws import RowDraws
from cissl.augment.triple import LARGEST_MAGNITUDE

# RandAugment draws from these, in this order. Only AutoAugment also has Invert.
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

# The parameter of each operation as a function of the magnitude m.
_PARAMETER: dict[str, Callable[[int], float]] = {
    "Rotate": lambda m: int(m * 30 / 10),  # degrees
    "ShearX": lambda m: m * 0.3 / 10,
    "ShearY": lambda m: m * 0.3 / 10,
    "TranslateX": lambda m: m,  # pixels
    "TranslateY": lambda m: m,
    "Solarize": lambda m: 256 - int(m * 256 / 10),  # threshold
    "Posterize": lambda m: (
        4 - int(m * 4 / 10) - 1
    ),  # number of kept bits, less one; from m = 10 on none is kept, so the image is black
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
    """(256,) uint8: pixel values after a conversion to float and back. It truncates, so that 1 to 47 lose one."""
    pixels = np.arange(256, dtype=np.float32) * np.float32(2 / 255) - np.float32(1)
    halved = pixels * np.float32(0.5) + np.float32(0.5)
    return torch.from_numpy((halved * np.float32(255)).astype(np.uint8)).to(device)


def add_alpha(images: Tensor) -> Tensor:
    """Append an opaque alpha channel: (N, C, S, S) uint8 → (N, C + 1, S, S) uint8. See `truncation_table`."""
    pixels = truncation_table(images.device)[images.int()]
    return torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, 1), value=255)


def remove_alpha(rgba: Tensor) -> Tensor:
    """Drop the alpha channel: (N, C + 1, S, S) uint8 → (N, C, S, S) float32 in [−1, 1], 0.0 where alpha is 0."""
    return ops.to_float(rgba[:, :-1]).mul_(rgba[:, -1:] != 0)


def parameters(choice: np.ndarray, magnitude: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Parameters of the operations, (N, D) float64; see `transform` for the arguments."""
    parameter: np.ndarray = PARAMETERS[choice, magnitude]
    return np.where(negative & SIGNED[choice], -parameter, parameter)


def transform(images: Tensor, choice: np.ndarray, magnitude: np.ndarray, negative: np.ndarray) -> Tensor:
    """Apply D operations to each image, one after the other.

    Args:
        images: (N, C, S, S) uint8.
        choice: places in NAMES, (N, D) int64. Identity leaves the image as it is.
        magnitude: (N, D) int64 from 0 to LARGEST_MAGNITUDE.
        negative: (N, D) bool, whether an operation with a sign goes the other way.

    Returns:
        (N, C, S, S) float32 in [−1, 1].
    """
    given = (choice, parameters(choice, magnitude, negative))
    return apply(images, *(torch.as_tensor(array, device=images.device) for array in given))


def apply(images: Tensor, choice: Tensor, parameter: Tensor) -> Tensor:
    """Apply D operations to images (N, C, S, S), with all arguments on their device.

    Args:
        images: (N, C, S, S) uint8.
        choice: places in NAMES, (N, D) int64.
        parameter: the result of `parameters`, (N, D) float64.

    Returns:
        (N, C, S, S) float32 in [−1, 1].
    """
    return remove_alpha(FAMILY(add_alpha(images), choice, parameter, alpha=True))


def cut(images: Tensor, size: int, centres: Tensor | np.ndarray) -> Tensor:
    """Set a square to 0.0 that reaches size // 2 pixels from its centre to each side.

    Args:
        images: (N, C, S, S) float32.
        size: side of the square in pixels; 0 for no square.
        centres: (N, 2) int64, **row and then column**.
    """
    if size <= 0:
        return images
    centres = torch.as_tensor(centres, device=images.device).flip(1)
    return images.masked_fill(ops.square(size // 2, centres, images.shape[-1]), 0.0)


def default_cutout(side: int) -> int:
    """Size of the cutout of `rac` and `aac`, in pixels: 16, or half the side if this is less."""
    return min(16, side // 2)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """D operations, then a cutout.

    Attributes:
        cutout: size of the cutout in pixels, 0 for none.
    """

    cutout: int = 0

    def draw(self, rng: RowDraws, side: int) -> dict[str, np.ndarray]:
        """Draw for each image: operations and their parameters, (N, D), and centres of cutouts, (N, 2)."""
        raise NotImplementedError

    def apply(self, images: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        """Augment images: (N, C, S, S) uint8 → float32 in [−1, 1]. `draws` is the result of `draw` on the device."""
        return cut(apply(images, draws["choice"], draws["parameter"]), self.cutout, draws["centres"])


@dataclass(frozen=True, kw_only=True)
class RandAugment(Policy):
    """`count` operations, drawn with replacement, then a cutout.

    Attributes:
        count: number of operations.
        magnitude: magnitude of every operation. None: uniform from 1 to 9.
        probability: probability that a drawn operation is applied.
    """

    count: int = 2
    magnitude: int | None = None
    probability: float = 0.5

    def draw(self, rng: RowDraws, side: int) -> dict[str, np.ndarray]:
        """Draw for each image: operations and their parameters, (N, count), and centres of cutouts, (N, 2)."""
        choice = rng.integers(len(RANDOM_OPS), self.count)
        magnitude = 1 + rng.integers(9, self.count)
        if self.magnitude is not None:
            magnitude = np.full_like(magnitude, self.magnitude)
        uniform = rng.uniform(self.count, 2)
        centres = rng.integers(side, 2)
        choice = np.where(uniform[..., 0] < self.probability, choice, NAMES.index("Identity"))
        parameter = parameters(choice, magnitude, uniform[..., 1] > 0.5)
        return {"choice": choice, "parameter": parameter, "centres": centres}
