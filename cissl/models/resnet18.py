"""ResNet-18 (He et al. 2016) with pre-activation blocks, the backbone for mini-ImageNet."""

import torch.nn.functional as F
from torch import Tensor, nn

from cissl.models.layers import (
    BatchNorm2d,
    Dense,
    PreActivationBlock,
    ResidualClassifier,
    SameConv2d,
    leaky_relu,
)


class ResNet18(ResidualClassifier):
    """7×7 stem of stride 2, BatchNorm, leaky ReLU, 2×2 max-pool, 4 stages of 2 blocks; ends like `WideResNet`.

    Stage i has filters·2^i channels; every stage but the first halves the resolution.
    """

    def __init__(self, *, classes: int, channels: int, filters: int, bn_decay: float):
        super().__init__()
        self.stem = SameConv2d(channels, filters, 7, 2)
        self.stem_norm = BatchNorm2d(filters, bn_decay)
        width, blocks = filters, list[nn.Module]()
        for stage in range(4):
            for stride in (2 if stage > 0 else 1, 1):
                blocks.append(PreActivationBlock(width, filters << stage, stride, False, bn_decay))
                width = filters << stage
        self.blocks = nn.Sequential(*blocks)
        self.norm = BatchNorm2d(width, bn_decay)
        self.dense = Dense(width, classes)

    def last_map(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → the last feature map (N, width, h, w)."""
        x = leaky_relu(self.stem_norm(self.stem(x)))
        return self.activated(self.blocks(F.max_pool2d(x, 2)))
