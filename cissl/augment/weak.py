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
    draws = torch.from_numpy(np.column_stack((offsets, flips))).to(images.device, non_blocking=True)
    steps = torch.arange(-shift, side - shift, device=images.device)
    source = (draws[:, :2, None] + steps).abs_()  # of rows and columns, (N, 2, side), as far as reflected on one edge
    rows, columns = torch.minimum(source, 2 * (side - 1) - source).unbind(1)
    columns = torch.where(draws[:, 2:] > 0, side - 1 - columns, columns)
    index = (rows.unsqueeze(2) * side + columns.unsqueeze(1)).view(n, 1, side * side)
    return images.reshape(n, channels, -1).gather(2, index.expand(-1, channels, -1)).view(images.shape)


def augment(images: Tensor, rng, *, flip: bool, shift: int) -> Tensor:
    """Random mirror (if `flip`) with probability 1/2 and uniform shift of up to `shift` pixels.

    Draws one uniform and two integers an image, whatever the arguments say.
    """
    flips = (rng.uniform() < 0.5) & flip
    return mirror_and_shift(images, flips, rng.integers(2 * shift + 1, 2), shift)
