"""Weak augmentation: random mirror, then a random shift with reflect padding.

Random numbers are drawn on the host, one row for each image. Images are (N, C, S, S) uint8.
"""

import numpy as np
import torch
from torch import Tensor

from cissl.augment.constants import constant
from cissl.augment.row_draws import RowDraws


def mirror(images: Tensor, flips: np.ndarray) -> Tensor:
    """Mirror images (N, C, S, S) left-right whose entry in `flips` (N,) bool is true."""
    return mirror_and_shift(images, flips, np.zeros((len(flips), 2), dtype=np.int64), 0)


def mirror_and_shift(images: Tensor, flips: np.ndarray, offsets: np.ndarray, shift: int) -> Tensor:
    """Mirror, pad by reflection without repeating the edge, and crop back to the original size.

    Args:
        images: (N, C, S, S) uint8.
        flips: whether an image is mirrored, (N,) bool.
        offsets: first row and column of the crop in the padded image, (N, 2) int64 from 0 to 2 · shift.
        shift: width of the padding in pixels, less than the side.
    """
    return crop(images, torch.as_tensor(places(flips, offsets, shift), device=images.device), shift)


def places(flips: np.ndarray, offsets: np.ndarray, shift: int) -> np.ndarray:
    """The places that `crop` reads, (N, 2) int64, from the arguments of `mirror_and_shift`."""
    found: np.ndarray = offsets + np.multiply.outer(flips, (0, 2 * shift + 1))  # mirrored columns come last
    return found


def crop(images: Tensor, places: Tensor, shift: int) -> Tensor:
    """`mirror_and_shift` of images (N, C, S, S) with the result of `places` on their device, (N, 2) int64."""
    n, channels, side, _ = images.shape
    rows, columns = _sources(side, shift, images.device)
    index = rows[places[:, 0]].unsqueeze(2) + columns[places[:, 1]].unsqueeze(1)
    index = index.view(n, 1, side * side).expand(-1, channels, -1)
    return images.reshape(n, channels, -1).gather(2, index).view(images.shape)


@constant
def _sources(side: int, shift: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels that a crop reads: starts of rows (2 shift + 1, S), columns (2 (2 shift + 1), S), mirrored ones last."""
    away = np.abs(np.arange(2 * shift + 1)[:, None] + np.arange(-shift, side - shift))  # reflected on one edge
    source = torch.from_numpy(np.minimum(away, 2 * (side - 1) - away)).to(device)
    return source * side, torch.cat((source, side - 1 - source))


def draw(rng: RowDraws, *, flip: bool, shift: int) -> np.ndarray:
    """Draw the places, (N, 2) int64, of a random mirror and a uniform shift of up to `shift` pixels.

    The mirror has probability 1/2 if `flip` is true, else 0. Each image takes one uniform number and two whole numbers,
    whatever the arguments are.
    """
    flips = (rng.uniform() < 0.5) & flip
    return places(flips, rng.integers(2 * shift + 1, 2), shift)


def augment(images: Tensor, rng: RowDraws, *, flip: bool, shift: int) -> Tensor:
    """Mirror and shift images (N, C, S, S) at random; see `draw`."""
    return crop(images, torch.as_tensor(draw(rng, flip=flip, shift=shift), device=images.device), shift)
