"""Wide residual network (Zagoruyko & Komodakis 2016), as FixMatch and its relatives use it."""

from torch import Tensor, nn

from cissl.models.layers import BatchNorm2d, Dense, PreActivationBlock, ResidualClassifier, SameConv2d

STEM_CHANNELS = 16


class WideResNet(ResidualClassifier):
    """3×3 stem, `scales` stages of `repeat` blocks, BatchNorm, leaky ReLU, mean over pixels, dense.

    Stage i has filters·2^i channels; every stage but the first halves the resolution. WRN-28-2 has filters 32, repeat 4
    and scales 3; WRN-28-8 has filters 128; WRN-37-2 has scales 4. In the first block of all, the shortcut starts from
    the activated input too.
    """

    def __init__(self, *, classes: int, channels: int, filters: int, repeat: int, scales: int, bn_decay: float):
        super().__init__()
        self.stem = SameConv2d(channels, STEM_CHANNELS, 3)
        width, blocks = STEM_CHANNELS, list[nn.Module]()
        for stage in range(scales):
            for index in range(repeat):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(PreActivationBlock(width, filters << stage, stride, not blocks, bn_decay))
                width = filters << stage
        self.blocks = nn.Sequential(*blocks)
        self.norm = BatchNorm2d(width, bn_decay)
        self.dense = Dense(width, classes)

    def last_map(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → the last feature map (N, width, h, w)."""
        return self.activated(self.blocks(self.stem(x)))
