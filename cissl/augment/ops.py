"""Pillow's image operations on batches, one parameter per image, without Pillow.

Notation: R images (rows), C channels (1 as Pillow's mode L, 3 as RGB), S the square's side in pixels.
Images are (R, C, S, S) uint8, parameters (R,) float64 unless said otherwise; inputs are never modified.
Arithmetic follows Pillow's C code (float32 blends that truncate, 16.16 fixed-point affine maps, 22-bit
fixed-point resampling), so that every result is the same byte:

    ======================================================  =================================================
    operation                                               against Pillow 8.4 and 13.0, L and RGB
    ======================================================  =================================================
    blend; autocontrast, equalize, posterize, solarize      equal
    brightness, color, contrast, sharpness (ImageEnhance)   equal
    blur, smooth (ImageFilter.BLUR, SMOOTH)                 equal
    rotate (whole degrees), shear (NEAREST)                 equal
    translate (whole pixels, NEAREST)                       equal
    rescale (crop + LANCZOS, BICUBIC, BILINEAR, BOX,        equal
    HAMMING or NEAREST resize back)
    cutout                                                  equal
    ======================================================  =================================================

Every operation is a `blend` of two *pictures* of the image, which this module makes. What a picture needs beside the
image is prepared before, for all operations of a step at once. No call's shape depends on a value.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.augment.constants import constant

LARGEST_ANGLE = 45  # degrees that `move_index` knows, either way
CUT = 127  # what is cut out is gray


# Conversions


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]: x / 127.5 - 1."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Inverse of `to_float`: 127.5 (1 + x), rounded half to even and clipped to 0..255."""
    return images.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


# Pictures: whole numbers from 0 to 255, as uint8 or float32, of an image's shape or one that broadcasts to it.


def blend(first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """Image.blend: first + alpha (second - first) in float32, clipped, truncated to uint8; `alpha` (R,) float32."""
    return (second - first).mul_(alpha.view(-1, 1, 1, 1)).add_(first).clamp_(0, 255).to(torch.uint8)


def stretched(images: Tensor) -> Tensor:
    """ImageOps.autocontrast: stretch each channel to 0..255 (float64, truncated); constant channels stay."""
    values = images.flatten(2).double()
    low, high = torch.aminmax(values, dim=2, keepdim=True)
    # Not `255 / x`, which torch computes as x.reciprocal() * 255: rounded twice, it moves some values by one.
    scale = torch.full_like(high, 255.0).div_(high - low)
    result = (values * scale).sub_(low * scale).clamp_(0, 255)
    return torch.where(high > low, result, values).to(torch.uint8).view(images.shape)


def equalized(images: Tensor) -> Tensor:
    """ImageOps.equalize: each channel's cumulative histogram, in Pillow's integer division."""
    values = images.flatten(2).long()
    one = torch.ones(1, 1, 1, dtype=torch.int32, device=images.device)
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, values, one.expand_as(values))
    below = (histogram.cumsum(2, dtype=torch.int32) - histogram).gather(2, values)  # pixels darker than this one
    # Pillow leaves the brightest occurring value's pixels out of the step; step 0 means: leave it as it is.
    step = below.amax(2, keepdim=True).div_(255, rounding_mode="floor")
    result = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    return torch.where(step > 0, result, values).to(torch.uint8).view(images.shape)


def inverted(images: Tensor) -> Tensor:
    """ImageOps.invert."""
    return 255 - images


def black(images: Tensor) -> Tensor:
    """What ImageEnhance.Brightness blends from, (1, 1, 1, 1)."""
    return images.new_zeros(1, 1, 1, 1)


@constant
def _luma(device: torch.device) -> Tensor:
    return torch.tensor([19595, 38470, 7471], dtype=torch.float32, device=device).view(3, 1, 1) * 2**-16


def gray(images: Tensor) -> Tensor:
    """Pillow's L of RGB, (19595 R + 38470 G + 7471 B + 2^15) >> 16, as (R, 1, S, S) float32, exactly."""
    if images.shape[1] == 1:
        return images.float()
    return (images * _luma(images.device)).sum(1, keepdim=True).add_(0.5).floor_()


def mean(images: Tensor) -> Tensor:
    """The gray image's rounded mean, (R, 1, 1, 1) float32: what ImageEnhance.Contrast blends from."""
    return gray(images).mean((1, 2, 3), keepdim=True, dtype=torch.float64).add_(0.5).floor_().float()


def smoothed(images: Tensor) -> Tensor:
    """ImageFilter.SMOOTH: 3x3 of ones with 5 in the middle, over 13; the border of 1 pixel is copied."""
    pixels = images.float()
    return _rounded(pixels, _window(pixels, 3).add_(pixels, alpha=4), 13, 1)


def blurred(images: Tensor) -> Tensor:
    """ImageFilter.BLUR: the ring of 16 pixels around a 3x3, over 16; the border of 2 pixels is copied."""
    pixels = images.float()
    return _rounded(pixels, _window(pixels, 5).sub_(_window(pixels, 3)), 16, 2)


def _run(line: Tensor, size: int, step: int) -> Tensor:
    """Sums of `size` entries of a vector, `step` apart, starting from each entry where they fit."""
    return line.unfold(0, line.numel() - (size - 1) * step, step).sum(0)


def _window(images: Tensor, size: int) -> Tensor:
    """Sums over the size x size windows of each image, at the windows' middle pixels; anything near a border."""
    if images.device.type != "cpu":
        return F.avg_pool2d(images, size, stride=1, padding=size // 2, divisor_override=1)
    # Over the batch as one line of pixels, several times faster on a CPU than over rows; what the sums add up across
    # the ends of rows and images falls within size // 2 pixels of a border.
    side, reach = images.shape[-1], size // 2
    sums = _run(_run(images.reshape(-1), size, 1), size, side)
    margin = reach * (side + 1)
    return F.pad(sums, (margin, margin)).view(images.shape)


@constant
def _inside(side: int, border: int, device: torch.device) -> Tensor:
    """(S, S) bool: pixels further from the border than `border`."""
    place = torch.arange(side)
    inside = (place >= border) & (place < side - border)
    return (inside & inside[:, None]).to(device)


def _rounded(images: Tensor, sums: Tensor, divisor: int, border: int) -> Tensor:
    """sums / divisor rounded half up, with a border copied from `images`."""
    # The divisors are 13, which never gives a half, and 16, which is exact: float32 rounds as Pillow does.
    rounded = sums.mul_(1 / divisor).add_(0.5).floor_()
    return torch.where(_inside(images.shape[-1], border, images.device), rounded, images)


def posterized(images: Tensor, masks: Tensor) -> Tensor:
    """ImageOps.posterize by `posterize_masks` (R, 1, 1, 1)."""
    return images & masks


@constant
def _masks(device: torch.device) -> Tensor:
    return torch.tensor([256 - 2 ** (8 - bits) for bits in range(9)], dtype=torch.uint8, device=device)


def posterize_masks(bits: Tensor) -> Tensor:
    """The upper `bits` of 8, which are kept; none left is black. (R, 1, 1, 1) uint8."""
    return _masks(bits.device)[bits.clamp(0, 8).long()].view(-1, 1, 1, 1)


def solarized(images: Tensor, thresholds: Tensor) -> Tensor:
    """ImageOps.solarize: invert values from the threshold (R, 1, 1, 1) on."""
    return torch.where(images < thresholds, images, 255 - images)


# Geometry. A matrix (2, 3) maps an output pixel (x, y, 1) to the input's (x, y), in pixels from the upper left corner.


@constant
def _starts(side: int, device: torch.device) -> Tensor:
    """(2 LARGEST_ANGLE + 1, 2, 3) float64: matrices of Image.rotate for every whole angle, in Python's own doubles."""
    rows = []
    for degrees in range(-LARGEST_ANGLE, LARGEST_ANGLE + 1):
        angle = -math.radians(degrees % 360.0)
        cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
        opposite, centre = round(-math.sin(angle), 15), side / 2
        x = cosine * -centre + sine * -centre + 0.0 + centre
        y = opposite * -centre + cosine * -centre + 0.0 + centre
        x, y = x + cosine * 0.5 + sine * 0.5, y + opposite * 0.5 + cosine * 0.5  # to the pixels' centres
        rows.append([[cosine, sine, x], [opposite, cosine, y]])
    return torch.tensor(rows, dtype=torch.float64, device=device)


# What a value adds to the identity's matrix, and to its offset to the pixels' centres.
_CHANGES = {
    "shear_x": ((0, 1, 0.5), (0, 0, 0)),
    "shear_y": ((0, 0, 0), (1, 0, 0.5)),
    "translate_x": ((0, 0, 1), (0, 0, 0)),
    "translate_y": ((0, 0, 0), (0, 0, 1)),
    "rotate": ((0, 0, 0), (0, 0, 0)),
    "stay": ((0, 0, 0), (0, 0, 0)),
}
MOVES = tuple(_CHANGES)


@constant
def _changes(device: torch.device) -> Tensor:
    return torch.tensor(list(_CHANGES.values()), dtype=torch.float64, device=device)


@constant
def _grid(side: int, device: torch.device) -> Tensor:
    """(3, S S) float64: x, y and 1 of every pixel, in 65536ths."""
    place = torch.arange(side, dtype=torch.float64)
    y, x = torch.meshgrid(place, place, indexing="ij")
    return (torch.stack((x, y, torch.ones_like(x))) / 65536).flatten(1).to(device)


def move_index(moves: Tensor, values: Tensor, side: int) -> Tensor:
    """Where `moved` finds each pixel, (R, 1, S S) int64: Image.transform(AFFINE, NEAREST)'s 16.16 fixed-point walk.

    moves: (R,) int64, places in MOVES. values: degrees, counter-clockwise, within +-LARGEST_ANGLE, rounded to whole
    ones; coefficients of a shear; pixels that a translation reads further along, which moves the image the other way.
    """
    turns = torch.where(moves == MOVES.index("rotate"), values, 0.0).round_().long()
    changes = _changes(values.device)[moves] * values.view(-1, 1, 1)
    matrices = _starts(side, values.device)[turns + LARGEST_ANGLE] + changes
    fixed = matrices.mul_(65536.0).add_(0.5).floor_()
    # Whole numbers below 2^53 and a power of two: exact. One black pixel around the image stands for all outside.
    source = (fixed.flatten(0, 1) @ _grid(side, values.device)).floor_().clamp_(-1, side)
    x, y = source.view(len(values), 2, 1, -1).unbind(1)
    return x.add(y, alpha=side + 2).add_(side + 3).long()


def moved(images: Tensor, index: Tensor) -> Tensor:
    """The pixels at `move_index`, black outside."""
    padded = F.pad(images, (1, 1, 1, 1)).flatten(2)
    return padded.gather(2, index.expand(-1, images.shape[1], -1)).view(images.shape)


# Resampling


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(1.0 - abs(x), 0.0)


def _hamming(x: float) -> float:
    x = abs(x)
    if x == 0.0:
        return 1.0
    return math.sin(math.pi * x) / (math.pi * x) * (0.54 + 0.46 * math.cos(math.pi * x)) if x < 1.0 else 0.0


def _bicubic(x: float, a: float = -0.5) -> float:
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a if x < 2.0 else 0.0


def _lanczos(x: float) -> float:
    if x == 0.0:
        return 1.0
    if not -3.0 <= x < 3.0:
        return 0.0
    x *= math.pi
    return math.sin(x) / x * (math.sin(x / 3.0) / (x / 3.0))


# In the order in which CTAugment numbers them: name -> (kernel, radius in input pixels).
RESAMPLING: dict[str, tuple[Callable[[float], float] | None, float]] = {
    "LANCZOS": (_lanczos, 3.0),
    "BICUBIC": (_bicubic, 2.0),
    "BILINEAR": (_bilinear, 1.0),
    "BOX": (_box, 0.5),
    "HAMMING": (_hamming, 1.0),
    "NEAREST": (None, 0.5),
}
_TAPS = 7  # 2 ceil(largest radius) + 1: enlarging never widens a kernel


def _nearest_taps(size: int, side: int) -> list[tuple[int, list[float]]]:
    """Per output pixel the input pixel that Pillow's accumulated double coordinate falls into, weight 1."""
    step, taps = size / side, []
    position = step * 0.5
    for _ in range(side):
        taps.append((int(position), [1.0]))
        position += step
    return taps


def _kernel_taps(kernel: Callable[[float], float], radius: float, size: int, side: int):
    """Per output pixel the first input pixel and the weights, in multiples of 2^-22 rounded as by Pillow."""
    scale, taps = size / side, []
    for out in range(side):
        centre = (out + 0.5) * scale
        first = max(int(centre - radius + 0.5), 0)
        last = min(int(centre + radius + 0.5), size)
        weights = [kernel(i - centre + 0.5) for i in range(first, last)]
        total = sum(weights)
        fixed = [w / total * 2**22 for w in weights]
        taps.append((first, [math.trunc(f + math.copysign(0.5, f)) / 2**22 for f in fixed]))
    return taps


@constant
def _resampling(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Taps that enlarge sizes side//2 .. side to side, by (method, size - side//2, output pixel).

    Returns: first input pixel (6, sizes, S) int64, weights (6, sizes, S, _TAPS) float64.
    """
    sizes = range(side // 2, side + 1)
    first = np.zeros((len(RESAMPLING), len(sizes), side), dtype=np.int64)
    weight = np.zeros((len(RESAMPLING), len(sizes), side, _TAPS))
    for m, (kernel, radius) in enumerate(RESAMPLING.values()):
        for n, size in enumerate(sizes):
            # Pillow resizes to the same size by copying.
            nearest = kernel is None or size == side
            taps = _nearest_taps(size, side) if nearest else _kernel_taps(kernel, radius, size, side)
            for out, (start, weights) in enumerate(taps):
                first[m, n, out] = start
                weight[m, n, out, : len(weights)] = weights
    return torch.from_numpy(first).to(device), torch.from_numpy(weight).to(device)


def resampling_matrix(first: Tensor, last: Tensor, method: Tensor, side: int) -> Tensor:
    """What `rescaled` multiplies with, (R, S, S) float64: an output pixel's weights of the input's pixels.

    first, last: (R,) int64, pixels first..last-1 of both axes are enlarged to the whole side, at least half of it;
    method: (R,) int64, place in RESAMPLING.
    """
    starts, weights = _resampling(side, first.device)
    size = last - first - side // 2
    taps = torch.arange(_TAPS, device=first.device)
    # Unused taps have weight 0: where they would leave the image they may fall on any pixel.
    index = (starts[method, size] + first[:, None]).unsqueeze(2).add(taps).clamp_(max=side - 1)
    matrix = torch.zeros(len(first), side, side, dtype=torch.float64, device=first.device)
    return matrix.scatter_add_(2, index, weights[method, size])


def rescaled(images: Tensor, matrix: Tensor) -> Tensor:
    """Image.crop, then Image.resize back to the whole side, by `resampling_matrix`.

    Pillow's two passes, horizontal then vertical, each rounded to uint8. The sums are of 22-bit weights and
    bytes: exact in float64, and neither autocast nor TF32 touches float64.
    """
    rows = torch.bmm(images.double().flatten(1, 2), matrix.mT).add_(0.5).floor_().clamp_(0, 255)
    columns = matrix.unsqueeze(1) @ rows.view(images.shape)
    return columns.add_(0.5).clamp_(0, 255).to(torch.uint8)


# Cutout


@constant
def _middles(side: int, device: torch.device) -> Tensor:
    return torch.arange(0.5, side, device=device)


def square(half: Tensor | int, centre: Tensor, side: int) -> Tensor:
    """(R, 1, S, S) bool: the square [centre - half, centre + half), clipped to the image.

    half: (R, 1, 1) int64, or one for all; centre: (R, 2) int64, column then row.
    """
    inside = (_middles(side, centre.device) - centre.unsqueeze(2)).abs_() < half
    columns, rows = inside.unsqueeze(1).unbind(2)
    return rows.unsqueeze(3) & columns.unsqueeze(2)


def cut(images: Tensor, squares: Tensor) -> Tensor:
    """Fill the `square` with gray."""
    return images.masked_fill(squares, CUT)
