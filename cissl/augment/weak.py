"""Weak augmentation: random mirror, then a random shift with reflect padding.

Draws are made on the host, one row an image; images are (N, C, S, S) uint8.
"""

import numpy as np
import torch
from torch import Tensor

from cissl.augment.constants import constant


def mirror(images: Tensor, flips: np.ndarray) -> Tensor:
    """Mirror left-right the images whose entry in `flips` (N,) bool is true."""
    return mirror_and_shift(images, flips, np.zeros((len(flips), 2), dtype=np.int64), 0)


def mirror_and_shift(images: Tensor, flips: np.ndarray, offsets: np.ndarray, shift: int) -> Tensor:
    """Mirror, pad by `shift` pixels of reflection (edge not repeated), crop back to size at `offsets`.

    Args:
        flips: (N,) bool.
        offsets: (N, 2) int64 in 0..2 shift: the crop's first row and column in the padded image.
        shift: pixels, less than the side.
    """
    return crop(images, torch.as_tensor(places(flips, offsets, shift), device=images.device), shift)


def places(flips: np.ndarray, offsets: np.ndarray, shift: int) -> np.ndarray:
    """What `crop` reads, (N, 2) int64, of `mirror_and_shift`'s arguments."""
    return offsets + np.multiply.outer(flips, (0, 2 * shift + 1))


def crop(images: Tensor, places: Tensor, shift: int) -> Tensor:
    """`mirror_and_shift` with the draws on the device, as `places` gives them."""
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


def draw(rng, *, flip: bool, shift: int) -> np.ndarray:
    """Places of a random mirror (if `flip`) with probability 1/2 and a uniform shift of up to `shift` pixels.

    Draws one uniform and two integers an image, whatever the arguments say.
    """
    flips = (rng.uniform() < 0.5) & flip
    return places(flips, rng.integers(2 * shift + 1, 2), shift)


def augment(images: Tensor, rng, *, flip: bool, shift: int) -> Tensor:
    """Images at the places that `draw` gives."""
    return crop(images, torch.as_tensor(draw(rng, flip=flip, shift=shift), device=images.device), shift)
