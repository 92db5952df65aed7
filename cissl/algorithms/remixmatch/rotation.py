"""Images turned by multiples of 90 degrees, for a head that tells by which (Berthelot et al., 2020, section 3.3)."""

import torch
from torch import Tensor


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """A quarter of the images as they are, one upside down, and one for each of the two quarter turns.

    Args:
        images: (B, channels, H, H), B a multiple of 4.

    Returns:
        The images in the same order, and how each is turned, (B,) int64.
    """
    upright, reverse, first, second = images.chunk(4)
    turned = [
        upright,
        reverse.flip(2, 3),
        first.transpose(2, 3).flip(2),
        second.transpose(2, 3).flip(3),
    ]
    return torch.cat(turned), torch.arange(4, device=images.device).repeat_interleave(len(images) // 4)
