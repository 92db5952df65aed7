"""Images turned by multiples of 90 degrees, for a head that recognises the turn (Berthelot et al., 2020, sec. 3.3)."""

import torch
from torch import Tensor


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """Leave a quarter of the images upright, turn a quarter by 180 degrees, and one quarter in each direction by 90
    degrees.

    Args:
        images: (B, channels, H, H), where B is a multiple of 4.

    Returns:
        The images in the same order, and the turn of each, (B,) int64 from 0 to 3.
    """
    upright, reverse, first, second = images.chunk(4)
    turned = [
        upright,
        reverse.flip(2, 3),
        first.transpose(2, 3).flip(2),
        second.transpose(2, 3).flip(3),
    ]
    return torch.cat(turned), torch.arange(4, device=images.device).repeat_interleave(len(images) // 4)
