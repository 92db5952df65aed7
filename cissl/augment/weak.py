"""Weak augmentation: random mirror, then a random shift with reflect padding.

The draws are numpy arrays on the host, one row an image; images are (N, C, S, S) uint8.
"""

import numpy as np
import torch
from torch import Tensor


def mirror(images: Tensor, flips: np.ndarray) -> Tensor:
    """Mirror left-right the images whose entry in `flips` (N,) bool is true."""
    still = np.zeros((len(flips), 2), dtype=np.int64)
    return mirror_and_shift(images, flips, still, 0)


def mirror_and_shift(images: Tensor, flips: np.ndarray, offsets: np.ndarray, shift: int) -> Tensor:
    """Mirror, pad by `shift` pixels of reflection (edge not repeated), crop back to size at `offsets`.

    Args:
        flips: (N,) bool.
        offsets: (N, 2) int64 in 0..2 shift: the crop's first row and column in the padded image.
        shift: pixels, less than the side.
    """
    n, channels, side, _ = images.shape
    padded = np.abs(np.arange(-shift, side + shift))  # position in the padded image -> in the image
    padded = np.minimum(padded, 2 * (side - 1) - padded)
    rows, columns = padded[offsets[:, :, None] + np.arange(side)].transpose(1, 0, 2)
    columns = np.where(flips[:, None], side - 1 - columns, columns)
    source = torch.from_numpy(np.stack((rows * side, columns))).to(images.device, non_blocking=True)
    index = (source[0, :, :, None] + source[1, :, None, :]).view(n, 1, side * side)
    return images.reshape(n, channels, -1).gather(2, index.expand(-1, channels, -1)).view(images.shape)


def augment(images: Tensor, rng, *, flip: bool, shift: int) -> Tensor:
    """Random mirror (if `flip`) with probability 1/2 and uniform shift of up to `shift` pixels.

    Draws one uniform and two integers an image, whatever the arguments say.
    """
    flips = (rng.uniform() < 0.5) & flip
    return mirror_and_shift(images, flips, rng.integers(2 * shift + 1, 2), shift)
