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

Operations on single pixel values come as tables (R, C or 1, 256) uint8, so that a batch of different ones
costs one `lookup`; geometric ones come as matrices (R, 2, 3), so that a batch of them costs one `affine`.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

LARGEST_ANGLE = 45  # degrees that `rotation` knows, either way


# Conversions


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]: x / 127.5 - 1."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Inverse of `to_float`: 127.5 (1 + x), rounded half to even and clipped to 0..255."""
    return images.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


# Blends and pixel-value tables


def blend(first: Tensor, second: Tensor, alpha: Tensor) -> Tensor:
    """Image.blend: first + alpha (second - first) in float32, clipped, truncated to uint8.

    `first` and `second` are float32 and broadcast against each other; `second` has all dimensions.
    """
    weight = alpha.to(torch.float32).view(-1, *[1] * (second.dim() - 1))
    return (second - first).mul_(weight).add_(first).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=16)
def ramp(device: torch.device) -> Tensor:
    """(256,) float32: the identity table, shared by all callers."""
    return torch.arange(256, dtype=torch.float32, device=device)


def lookup(images: Tensor, tables: Tensor) -> Tensor:
    """Replace each pixel value by its entry in its image's and channel's table (R, C, 256)."""
    return tables.gather(2, images.flatten(2).long()).view(images.shape)


def autocontrast_table(images: Tensor) -> Tensor:
    """ImageOps.autocontrast: stretch each channel to 0..255 (float64, truncated); constant channels stay."""
    values, pixels = ramp(images.device).double(), images.flatten(2)
    low, high = pixels.amin(2, keepdim=True).double(), pixels.amax(2, keepdim=True).double()
    # Not `255 / x`, which torch computes as x.reciprocal() * 255: rounded twice, it moves some values by one.
    scale = torch.full_like(high, 255.0).div_(high - low)
    stretched = (values * scale - low * scale).clamp_(0, 255)
    return torch.where(high > low, stretched, values).to(torch.uint8)


def equalize_table(images: Tensor) -> Tensor:
    """ImageOps.equalize: each channel's cumulative histogram as a table, in Pillow's integer division."""
    values = images.flatten(2).long()
    one = torch.ones(1, 1, 1, dtype=torch.int32, device=images.device)
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, values, one.expand_as(values))
    below = histogram.cumsum(2, dtype=torch.int32).sub_(histogram)  # pixels darker than each value
    # Pillow leaves the brightest occurring value's pixels out of the step; step 0 means: leave it as it is.
    step = below.gather(2, values.amax(2, keepdim=True)) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    identity = torch.arange(256, dtype=torch.int32, device=images.device)
    return torch.where(step > 0, table, identity).to(torch.uint8)


def invert_table(images: Tensor) -> Tensor:
    """ImageOps.invert, (R, 1, 256)."""
    return torch.arange(255, -1, -1, dtype=torch.uint8, device=images.device).expand(len(images), 1, 256)


@lru_cache(maxsize=16)
def _posterized(device: torch.device) -> Tensor:
    """(9, 1, 256) uint8: the table for every number of bits."""
    values = torch.arange(256, dtype=torch.int32)
    return torch.stack([values >> 8 - bits << 8 - bits for bits in range(9)]).unsqueeze(1).byte().to(device)


def posterize_table(bits: Tensor) -> Tensor:
    """ImageOps.posterize: keep the upper `bits` of 8; none left is black. (R, 1, 256)."""
    return _posterized(bits.device).index_select(0, bits.clamp(0, 8).long())


def solarize_table(threshold: Tensor) -> Tensor:
    """ImageOps.solarize: invert values from `threshold` on. (R, 1, 256)."""
    values = ramp(threshold.device)
    return torch.where(values < threshold.view(-1, 1, 1), values, 255 - values).to(torch.uint8)


def brightness_table(factor: Tensor) -> Tensor:
    """ImageEnhance.Brightness: blend from black. (R, 1, 256)."""
    values = ramp(factor.device) * factor.to(torch.float32).view(-1, 1, 1)
    return values.clamp_(0, 255).to(torch.uint8)


def contrast_table(images: Tensor, factor: Tensor) -> Tensor:
    """ImageEnhance.Contrast: blend from the rounded mean of the gray image. (R, 1, 256)."""
    mean = _gray(images.float()).mean((1, 2, 3), dtype=torch.float64).add_(0.5).floor_()
    values = ramp(images.device).expand(len(images), 1, 256)
    return blend(mean.float().view(-1, 1, 1), values, factor)


# Colour and neighbourhoods. Helpers take and return float32 that holds whole numbers, exactly.


def _gray(images: Tensor) -> Tensor:
    """Pillow's L of RGB, (19595 R + 38470 G + 7471 B + 2^15) >> 16, as (R, 1, S, S); below 2^24, so exact."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return (19595 * red + 38470 * green + 7471 * blue).add_(2**15).mul_(2**-16).floor_()


def _run(line: Tensor, size: int, step: int) -> Tensor:
    """Sums of `size` entries of a vector, `step` apart, starting from each entry where they fit."""
    return line.unfold(0, line.numel() - (size - 1) * step, step).sum(0)


def _window(images: Tensor, size: int) -> Tensor:
    """Sums over the size x size windows of each image, at the windows' middle pixels; anything elsewhere.

    The sums run over the batch as one line of pixels, several times faster than over rows; what they add
    up across the ends of rows and images falls within size // 2 pixels of a border and is not used.
    """
    side, reach = images.shape[-1], size // 2
    sums = _run(_run(images.reshape(-1), size, 1), size, side)
    margin = reach * (side + 1)
    return torch.nn.functional.pad(sums, (margin, margin)).view(images.shape)


def _inside(images: Tensor, border: int) -> Tensor:
    return images[..., border:-border, border:-border]


def _rounded(images: Tensor, sums: Tensor, divisor: int, border: int) -> Tensor:
    """sums / divisor rounded half up, with a border copied from `images`."""
    result = images.clone()
    # The divisors are 13, which never gives a half, and 16, which is exact: float32 rounds as Pillow does.
    _inside(result, border).copy_(_inside(sums, border)).mul_(1 / divisor).add_(0.5).floor_()
    return result


def _smooth(images: Tensor) -> Tensor:
    """ImageFilter.SMOOTH: 3x3 of ones with 5 in the middle, over 13; the border of 1 pixel is copied."""
    return _rounded(images, _window(images, 3).add_(images, alpha=4), 13, 1)


def _blur(images: Tensor) -> Tensor:
    """ImageFilter.BLUR: the ring of 16 pixels around a 3x3, over 16; the border of 2 pixels is copied."""
    return _rounded(images, _window(images, 5).sub_(_window(images, 3)), 16, 2)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """ImageEnhance.Color: blend from the gray image; gray images stay as they are."""
    if images.shape[1] == 1:
        return images
    pixels = images.float()
    return blend(_gray(pixels), pixels, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """ImageEnhance.Sharpness: blend from the smoothed image."""
    pixels = images.float()
    return blend(_smooth(pixels), pixels, factor)


def smooth(images: Tensor, alpha: Tensor) -> Tensor:
    """Blend towards the smoothed image."""
    pixels = images.float()
    return blend(pixels, _smooth(pixels), alpha)


def blur(images: Tensor, alpha: Tensor) -> Tensor:
    """Blend towards the blurred image."""
    pixels = images.float()
    return blend(pixels, _blur(pixels), alpha)


# Geometry. A matrix (R, 2, 3) float64 maps an output pixel (x, y, 1) to the input's (x, y).


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Image.transform(AFFINE, NEAREST), black outside: Pillow's 16.16 fixed-point walk over the output."""
    side = images.shape[-1]
    along_x, along_y, offset = matrices.unbind(2)
    offset = offset + along_x * 0.5 + along_y * 0.5  # to the pixels' centres
    fixed = torch.stack((along_x, along_y, offset)).mul_(65536.0).add_(0.5).floor_().long()
    along_x, along_y, offset = fixed.view(3, -1, 2, 1, 1).unbind()
    steps = torch.arange(side, device=images.device)
    source = (along_y * steps.unsqueeze(1)).add_(offset) + along_x * steps  # (R, 2, S, S)
    # One black pixel around the image stands for everywhere outside.
    x, y = source.bitwise_right_shift_(16).clamp_(-1, side).add_(1).flatten(2).unbind(1)
    index = x.add(y, alpha=side + 2).unsqueeze(1)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1)).flatten(2)
    return padded.gather(2, index.expand(-1, images.shape[1], -1)).view(images.shape)


def _identity(parameter: Tensor) -> Tensor:
    return torch.eye(2, 3, dtype=torch.float64, device=parameter.device).repeat(len(parameter), 1, 1)


def shear_x(coefficient: Tensor) -> Tensor:
    """Matrices of x + coefficient y."""
    matrices = _identity(coefficient)
    matrices[:, 0, 1] = coefficient
    return matrices


def shear_y(coefficient: Tensor) -> Tensor:
    """Matrices of y + coefficient x."""
    matrices = _identity(coefficient)
    matrices[:, 1, 0] = coefficient
    return matrices


def translation(pixels: Tensor, axis: int) -> Tensor:
    """Matrices that read `pixels` further along axis 0 (x) or 1 (y), which moves the image the other way."""
    matrices = _identity(pixels)
    matrices[:, axis, 2] = pixels
    return matrices


@lru_cache(maxsize=16)
def _rotations(side: int, device: torch.device) -> Tensor:
    """(2 LARGEST_ANGLE + 1, 2, 3): Image.rotate's matrices for every whole angle, in Python's own doubles."""
    rows = []
    for degrees in range(-LARGEST_ANGLE, LARGEST_ANGLE + 1):
        angle = -math.radians(degrees % 360.0)
        cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
        opposite, centre = round(-math.sin(angle), 15), side / 2
        x = cosine * -centre + sine * -centre + 0.0 + centre
        y = opposite * -centre + cosine * -centre + 0.0 + centre
        rows.append([[cosine, sine, x], [opposite, cosine, y]])
    return torch.tensor(rows, dtype=torch.float64, device=device)


def rotation(degrees: Tensor, side: int) -> Tensor:
    """Matrices of Image.rotate by whole degrees within +-LARGEST_ANGLE, counter-clockwise."""
    return _rotations(side, degrees.device)[degrees.long() + LARGEST_ANGLE]


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


@lru_cache(maxsize=16)
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


def rescale(images: Tensor, first: Tensor, last: Tensor, method: Tensor) -> Tensor:
    """Image.crop to pixels first..last-1 of both axes, then resize back to the whole side.

    first, last: (R,) int64, a square of at least half the side; method: (R,) int64, place in RESAMPLING.
    Pillow's two passes, horizontal then vertical, each rounded to uint8. The sums are of 22-bit weights and
    bytes: exact in float64, and neither autocast nor TF32 touches float64.
    """
    side = images.shape[-1]
    starts, weights = _resampling(side, images.device)
    size = last - first - side // 2
    taps = torch.arange(_TAPS, device=images.device)
    # Unused taps have weight 0: where they would leave the image they may fall on any pixel.
    index = (starts[method, size] + first[:, None]).unsqueeze(2).add(taps).clamp_(max=side - 1)
    matrix = torch.zeros(len(images), side, side, dtype=torch.float64, device=images.device)
    matrix.scatter_add_(2, index, weights[method, size])
    rows = torch.bmm(images.double().flatten(1, 2), matrix.mT).add_(0.5).floor_().clamp_(0, 255)
    columns = matrix.unsqueeze(1) @ rows.view(images.shape)
    return columns.add_(0.5).clamp_(0, 255).to(torch.uint8)


# Cutout


def square(half: Tensor, centre: Tensor, side: int) -> Tensor:
    """(R, 1, S, S) uint8: 1 in the square [centre - half, centre + half), clipped to the image, else 0.

    half: (R,) int64; centre: (R, 2) int64, column then row.
    """
    middles = torch.arange(0.5, side, device=centre.device)
    inside = ((middles - centre.unsqueeze(2)).abs_() < half.view(-1, 1, 1)).to(torch.uint8)
    columns, rows = inside.unsqueeze(1).unbind(2)
    return rows.unsqueeze(3) * columns.unsqueeze(2)


def cutout(images: Tensor, half: Tensor, centre: Tensor) -> Tensor:
    """Fill that square with gray 127."""
    cut = square(half, centre, images.shape[-1])
    return (127 - images).mul_(cut).add_(images)  # modulo 256, hence exact
