"""Pillow's image operations on batches, with one parameter for each image, without Pillow.

Notation: R images (rows), C channels (1 as Pillow's mode L, 3 as RGB), S side of the square images in pixels.
Images are (R, C, S, S) uint8 and parameters (R,) float64, unless a docstring says otherwise. Inputs are never modified.
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
image is prepared for all operations of a step at once. The shape of a call never depends on a value.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cissl.augment.constants import constant

LARGEST_ANGLE = 45  # largest rotation of `move_index` in degrees, in both directions
CUT = 127  # gray value of pixels that are cut out


# Conversions


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 to float32 in [−1, 1]: x / 127.5 − 1, of the same shape."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Convert float32 in [−1, 1] to uint8: 127.5 (1 + x), rounded half to even and clipped to 0..255; same shape."""
    return images.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


# Pictures: whole numbers from 0 to 255, as uint8 or float32, of an image's shape or one that broadcasts to it.


def blend(first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """Image.blend: first + alpha (second - first) in float32, clipped, truncated to uint8; `alpha` (R,) float32."""
    return (second - first).mul_(alpha.view(-1, 1, 1, 1)).add_(first).clamp_(0, 255).to(torch.uint8)


def stretched(images: Tensor) -> Tensor:
    """ImageOps.autocontrast: stretch each channel to 0..255 (float64, truncated); constant channels stay."""
    values = images.flatten(2).double()
    low, high = torch.aminmax(values, dim=2, keepdim=True)
    # torch computes `255 / x` as x.reciprocal() * 255. This rounds twice and would change some values by one.
    scale = torch.full_like(high, 255.0).div_(high - low)
    result = (values * scale).sub_(low * scale).clamp_(0, 255)
    return torch.where(high > low, result, values).to(torch.uint8).view(images.shape)


def equalized(images: Tensor) -> Tensor:
    """ImageOps.equalize of images (R, C, S, S): each channel's cumulative histogram, in Pillow's integer division."""
    values = images.flatten(2).long()
    one = torch.ones(1, 1, 1, dtype=torch.int32, device=images.device)
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, values, one.expand_as(values))
    below = (histogram.cumsum(2, dtype=torch.int32) - histogram).gather(2, values)  # pixels darker than this one
    # Pillow does not count the pixels of the brightest value in the step. With step 0 the channel does not change.
    step = below.amax(2, keepdim=True).div_(255, rounding_mode="floor")
    result = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    return torch.where(step > 0, result, values).to(torch.uint8).view(images.shape)


def inverted(images: Tensor) -> Tensor:
    """ImageOps.invert of images (R, C, S, S) uint8."""
    return 255 - images


def black(images: Tensor) -> Tensor:
    """The picture that ImageEnhance.Brightness blends from, (1, 1, 1, 1): 0."""
    return _zero(images.device)


@constant
def _zero(device: torch.device) -> Tensor:
    return torch.zeros(1, 1, 1, 1, dtype=torch.uint8, device=device)


@constant
def _luma(device: torch.device) -> Tensor:
    return torch.tensor([19595, 38470, 7471], dtype=torch.float32, device=device).view(3, 1, 1) * 2**-16


def gray(images: Tensor) -> Tensor:
    """Pillow's L of RGB, (19595 R + 38470 G + 7471 B + 2^15) >> 16, as (R, 1, S, S) float32, exactly."""
    if images.shape[1] == 1:
        return images.float()
    return (images * _luma(images.device)).sum(1, keepdim=True).add_(0.5).floor_()


def mean(images: Tensor) -> Tensor:
    """The rounded mean of the gray image, (R, 1, 1, 1) float32. ImageEnhance.Contrast blends from it."""
    return _mean_of(gray(images))


def _mean_of(shades: Tensor) -> Tensor:
    return shades.mean((1, 2, 3), keepdim=True, dtype=torch.float64).add_(0.5).floor_().float()


def smoothed(images: Tensor) -> Tensor:
    """ImageFilter.SMOOTH, (R, C, S, S) float32: a kernel 3x3 of ones with 5 in the middle, over 13.

    The border of 1 pixel is copied.
    """
    pixels = images.float()
    return _rounded(pixels, _window(pixels, 3).add_(pixels, alpha=4), 13, 1)


def blurred(images: Tensor) -> Tensor:
    """ImageFilter.BLUR, (R, C, S, S) float32: the mean of the ring of 16 pixels around a square of 3x3.

    The border of 2 pixels is copied.
    """
    pixels = images.float()
    return _rounded(pixels, _window(pixels, 5).sub_(_window(pixels, 3)), 16, 2)


def _run(line: Tensor, size: int, step: int) -> Tensor:
    """Sums of `size` entries of a vector that are `step` apart, for each first entry from which they fit."""
    return line.unfold(0, line.numel() - (size - 1) * step, step).sum(0)


def _window(images: Tensor, size: int) -> Tensor:
    """Sums over the size x size windows of each image, at the middle pixels of the windows.

    Near a border the values are arbitrary.
    """
    if images.device.type != "cpu":
        return F.avg_pool2d(images, size, stride=1, padding=size // 2, divisor_override=1)
    # The batch is one line of pixels here, which is several times faster on a CPU than rows. Sums across the ends of
    # rows and images are within size // 2 pixels of a border.
    side, reach = images.shape[-1], size // 2
    sums = _run(_run(images.reshape(-1), size, 1), size, side)
    margin = reach * (side + 1)
    return F.pad(sums, (margin, margin)).view(images.shape)


@constant
def _inside(side: int, border: int, device: torch.device) -> Tensor:
    """Whether a pixel is not within `border` pixels of a border, (S, S) bool."""
    place = torch.arange(side)
    inside = (place >= border) & (place < side - border)
    return (inside & inside[:, None]).to(device)


def _rounded(images: Tensor, sums: Tensor, divisor: int, border: int) -> Tensor:
    """sums / divisor, rounded half up, with a border copied from `images`."""
    # The divisor 13 never gives a half, and 16 is exact in float32. So this rounds as Pillow does.
    rounded = sums.mul_(1 / divisor).add_(0.5).floor_()
    return torch.where(_inside(images.shape[-1], border, images.device), rounded, images)


def posterized(images: Tensor, masks: Tensor) -> Tensor:
    """ImageOps.posterize of images (R, C, S, S) with `posterize_masks` (R, 1, 1, 1)."""
    return images & masks


@constant
def _masks(device: torch.device) -> Tensor:
    return torch.tensor([256 - 2 ** (8 - bits) for bits in range(9)], dtype=torch.uint8, device=device)


def posterize_masks(bits: Tensor) -> Tensor:
    """Masks that keep the upper `bits` (R,) of 8 bits, (R, 1, 1, 1) uint8. With 0 bits the image is black."""
    return _masks(bits.device)[bits.clamp(0, 8).long()].view(-1, 1, 1, 1)


def solarized(images: Tensor, thresholds: Tensor) -> Tensor:
    """ImageOps.solarize of images (R, C, S, S): invert values at or above the threshold (R, 1, 1, 1)."""
    return torch.where(images < thresholds, images, 255 - images)


# Several pictures in one go, of which each row gets one: for GPUs, where calls cost more than pixels. The bytes are the
# same as above.

TONES = {"solarized": 0, "posterized": 257}  # where their rows begin in the table of tones, by threshold and by bits


@constant
def _tones(device: torch.device) -> Tensor:
    """What becomes of each value, (266, 256) uint8: solarized from 0 (inverted) to 256 (unchanged), then posterized."""
    values = torch.arange(256, dtype=torch.uint8).view(1, -1, 1, 1)
    thresholds = torch.arange(257).view(-1, 1, 1, 1)
    solar = solarized(values.expand(257, -1, -1, -1), thresholds)
    poster = posterized(values, posterize_masks(torch.arange(9)))
    return torch.cat((solar, poster)).flatten(1).to(device)


def toned(images: Tensor, tones: Tensor) -> Tensor:
    """Solarized, posterized or inverted, by a place in the table of tones, (R,) int64."""
    return _tones(images.device)[tones.view(-1, 1, 1, 1), images.long()]


@constant
def _levels(pixels: int, device: torch.device) -> Tensor:
    """Factors of a value and of the number of darker pixels, and what is taken away, (2, keys, 3) float64.

    Stretched, by 256 · lowest + highest value; equalized, by the number of pixels that are darker than the brightest.
    """
    table = np.zeros((2, max(2**16, pixels), 3))
    low, high = np.divmod(np.arange(2**16), 256)
    stretches = high > low
    scale = np.divide(255.0, high - low, out=np.ones(2**16), where=stretches)
    table[0, : 2**16, 0], table[0, : 2**16, 2] = scale, np.where(stretches, low * scale, 0)
    step = np.arange(table.shape[1]) // 255
    steps = step > 0
    share = np.divide(1.0, step, out=np.zeros(len(step)), where=steps)
    # A half more, so that rounding cannot bring the quotient of two whole numbers below a whole number.
    table[1] = np.stack((~steps, share, -(step // 2 + 0.5) * share), axis=1)
    return torch.from_numpy(table).to(device)


def levelled(images: Tensor, equalizing: Tensor) -> Tensor:
    """Equalized where `equalizing` (R,) bool is true, else stretched."""
    equalizing = equalizing.view(-1, 1, 1)
    values = images.contiguous().flatten(2)
    in_order = values.sort(2).values
    below = torch.searchsorted(in_order, values)  # pixels darker than this one
    low, high = torch.split(in_order[..., :: values.shape[2] - 1].int(), 1, 2)
    key = torch.where(equalizing, below.amax(2, keepdim=True), torch.add(high, low, alpha=256))
    factor, share, offset = _levels(values.shape[2], images.device)[equalizing.long(), key].unbind(3)
    result = values.double().mul_(factor).addcmul_(below.double(), share).sub_(offset)
    return result.clamp_(0, 255).to(torch.uint8).view(images.shape)


@constant
def _filters(device: torch.device) -> Tensor:
    """Factors of a pixel and of the sums over 3 x 3 and 5 x 5, (2, 3, 1, 1, 1) float32: smoothed, then blurred."""
    return torch.tensor([[4 / 13, 1 / 13, 0], [0, -1 / 16, 1 / 16]], device=device).view(2, 3, 1, 1, 1)


@constant
def _insides(side: int, device: torch.device) -> Tensor:
    return torch.stack([_inside(side, border, device) for border in (1, 2)]).unsqueeze(1)


def filter_factors(blurring: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """What `filtered` needs: blurred where `blurring` (R,) bool is true, else smoothed."""
    kind = blurring.long()
    return _filters(blurring.device)[kind], _insides(side, blurring.device)[kind]


def filtered(images: Tensor, factors: Tensor, inside: Tensor) -> Tensor:
    """Blurred or smoothed by `filter_factors`."""
    pixels = images.float()
    own, small, large = factors.unbind(1)
    sums = torch.addcmul(_halves(images.device), pixels, own)
    sums = sums.addcmul_(_window(pixels, 3), small).addcmul_(_window(pixels, 5), large).floor_()
    return torch.where(inside, sums, pixels)


@constant
def _halves(device: torch.device) -> Tensor:
    return torch.full((1, 1, 1, 1), 0.5, device=device)


def grays(images: Tensor, averaging: Tensor) -> Tensor:
    """The mean of the gray image where `averaging` (R,) bool is true, else the gray image."""
    shades = gray(images)
    return torch.where(averaging.view(-1, 1, 1, 1), _mean_of(shades), shades)


# Geometry. A matrix (2, 3) maps an output pixel (x, y, 1) to an input pixel (x, y). The upper left corner is (0, 0).


@constant
def _starts(side: int, device: torch.device) -> Tensor:
    """Matrices of Image.rotate for whole angles, made of Python's floats, times 2^16; (angles, 2, 3) float64.

    The angles go from 0 to LARGEST_ANGLE and then from −LARGEST_ANGLE to −1, as Python counts places from the end.
    """
    rows = []
    for degrees in (*range(LARGEST_ANGLE + 1), *range(-LARGEST_ANGLE, 0)):
        angle = -math.radians(degrees % 360.0)
        cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
        opposite, centre = round(-math.sin(angle), 15), side / 2
        x = cosine * -centre + sine * -centre + 0.0 + centre
        y = opposite * -centre + cosine * -centre + 0.0 + centre
        x, y = x + cosine * 0.5 + sine * 0.5, y + opposite * 0.5 + cosine * 0.5  # to the pixels' centres
        rows.append([[cosine, sine, x], [opposite, cosine, y]])
    return torch.tensor(rows, dtype=torch.float64).mul_(65536.0).to(device)


# Factors of the value that is added to the matrix of the identity, and to its offset to the pixels' centres.
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
    """By place in MOVES: the six factors times 2^16, and 1 where the value is an angle, else 0; (6, 7) float64."""
    factors = torch.tensor(list(_CHANGES.values()), dtype=torch.float64).flatten(1).mul_(65536.0)
    turning = torch.tensor([[float(name == "rotate")] for name in MOVES], dtype=torch.float64)
    return torch.cat((factors, turning), 1).to(device)


@constant
def _grid(side: int, device: torch.device) -> Tensor:
    """x, y and 1 of every pixel, divided by 65536; (3, S · S) float64."""
    place = torch.arange(side, dtype=torch.float64)
    y, x = torch.meshgrid(place, place, indexing="ij")
    return (torch.stack((x, y, torch.ones_like(x))) / 65536).flatten(1).to(device)


def move_index(moves: Tensor, values: Tensor, side: int) -> Tensor:
    """The input pixel of each output pixel, (R, 1, S · S) int64, for `moved`.

    It is computed in 16.16 fixed-point numbers, as in Image.transform(AFFINE, NEAREST).

    Args:
        moves: places in MOVES, (R,) int64.
        values: (R,) float64. For a rotation: degrees counter-clockwise, at most LARGEST_ANGLE in both directions,
            rounded to whole degrees. For a shear: its coefficient. For a translation: pixels between the output and
            the input pixel, so that the image moves in the other direction.
        side: S.
    """
    factors = _changes(values.device)[moves]
    turns = (factors[:, -1] * values).round_().long()
    # Products with a power of two or 0 are exact, in whatever order a device multiplies and adds.
    changes = factors[:, :-1].view(-1, 2, 3)
    fixed = torch.addcmul(_starts(side, values.device)[turns], changes, values.view(-1, 1, 1)).add_(0.5).floor_()
    # This is exact for whole numbers below 2^53 and a power of two. A black border pixel stands for all pixels outside.
    source = (fixed.flatten(0, 1) @ _grid(side, values.device)).floor_().clamp_(-1, side)
    x, y = source.view(len(values), 2, 1, -1).unbind(1)
    return x.add(y, alpha=side + 2).add_(side + 3).long()


def moved(images: Tensor, index: Tensor) -> Tensor:
    """Images (R, C, S, S) with the pixels at `move_index` (R, 1, S · S). Pixels outside are black."""
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


# Name → (kernel, radius in input pixels), in the order of CTAugment's numbers.
RESAMPLING: dict[str, tuple[Callable[[float], float] | None, float]] = {
    "LANCZOS": (_lanczos, 3.0),
    "BICUBIC": (_bicubic, 2.0),
    "BILINEAR": (_bilinear, 1.0),
    "BOX": (_box, 0.5),
    "HAMMING": (_hamming, 1.0),
    "NEAREST": (None, 0.5),
}
_TAPS = 7  # 2 ceil(largest radius) + 1, because enlarging never widens a kernel
Taps = list[tuple[int, list[float]]]  # of each output pixel: first input pixel, and weights from there on


def _nearest_taps(size: int, side: int) -> Taps:
    """For each output pixel the input pixel at Pillow's accumulated coordinate, with weight 1."""
    step, taps = size / side, []
    position = step * 0.5
    for _ in range(side):
        taps.append((int(position), [1.0]))
        position += step
    return taps


def _kernel_taps(kernel: Callable[[float], float], radius: float, size: int, side: int) -> Taps:
    """For each output pixel the first input pixel and the weights: multiples of 2^-22, rounded as in Pillow."""
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
    """Taps that enlarge sizes from side // 2 to side, by (method, size − side // 2, output pixel).

    Returns:
        First input pixel (6, sizes, S) int64, and weights (6, sizes, S, _TAPS) float64.
    """
    sizes = range(side // 2, side + 1)
    first = np.zeros((len(RESAMPLING), len(sizes), side), dtype=np.int64)
    weight = np.zeros((len(RESAMPLING), len(sizes), side, _TAPS))
    for m, (kernel, radius) in enumerate(RESAMPLING.values()):
        for n, size in enumerate(sizes):
            if kernel is None or size == side:  # Pillow copies an image that keeps its size
                taps = _nearest_taps(size, side)
            else:
                taps = _kernel_taps(kernel, radius, size, side)
            for out, (start, weights) in enumerate(taps):
                first[m, n, out] = start
                weight[m, n, out, : len(weights)] = weights
    return torch.from_numpy(first).to(device), torch.from_numpy(weight).to(device)


def resampling_matrix(first: Tensor, last: Tensor, method: Tensor, side: int) -> Tensor:
    """Weights of the input pixels for each output pixel, (R, S, S) float64, for `rescaled`.

    Args:
        first, last: pixels first to last − 1 of both axes are enlarged to the whole side, (R,) int64. They are at least
            half of it.
        method: place in RESAMPLING, (R,) int64.
        side: S.
    """
    starts, weights = _resampling(side, first.device)
    size = last - first - side // 2
    taps = torch.arange(_TAPS, device=first.device)
    # Unused taps have weight 0, so those outside the image can be moved to any pixel.
    index = (starts[method, size] + first[:, None]).unsqueeze(2).add(taps).clamp_(max=side - 1)
    matrix = torch.zeros(len(first), side, side, dtype=torch.float64, device=first.device)
    return matrix.scatter_add_(2, index, weights[method, size])


def rescaled(images: Tensor, matrix: Tensor) -> Tensor:
    """Image.crop and then Image.resize to the whole side: images (R, C, S, S) by `resampling_matrix` (R, S, S).

    Pillow makes two passes, first horizontal and then vertical, and rounds each to uint8. The sums of 22-bit weights
    times bytes are exact in float64, and neither autocast nor TF32 changes float64.
    """
    half = _half(images.device)
    rows = torch.baddbmm(half, images.double().flatten(1, 2), matrix.mT).floor_().clamp_(0, 255)
    matrices = matrix.unsqueeze(1).expand(-1, images.shape[1], -1, -1).flatten(0, 1)
    columns = torch.baddbmm(half, matrices, rows.view(-1, *images.shape[2:]))
    return columns.clamp_(0, 255).to(torch.uint8).view(images.shape)


@constant
def _half(device: torch.device) -> Tensor:
    return torch.full((1, 1, 1), 0.5, dtype=torch.float64, device=device)


# Cutout


@constant
def _middles(side: int, device: torch.device) -> Tensor:
    return torch.arange(0.5, side, device=device)


def square(half: Tensor | int, centre: Tensor, side: int) -> Tensor:
    """Whether a pixel is in the square [centre − half, centre + half), clipped to the image; (R, 1, S, S) bool.

    Args:
        half: half the side of the square in pixels, (R, 1, 1) int64, or one number for all.
        centre: column and row, (R, 2) int64.
        side: S.
    """
    inside = (_middles(side, centre.device) - centre.unsqueeze(2)).abs_() < half
    columns, rows = inside.unsqueeze(1).unbind(2)
    return rows.unsqueeze(3) & columns.unsqueeze(2)


def cut(images: Tensor, squares: Tensor) -> Tensor:
    """Images (R, C, S, S) whose `square` (R, 1, S, S) is filled with gray."""
    return images.masked_fill(squares, CUT)
