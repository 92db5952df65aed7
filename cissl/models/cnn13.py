"""The 13-layer convolutional network of Mean Teacher (Tarvainen & Valpola 2017), simplified."""

import torch
from torch import Tensor, nn

from cissl.models.layers import BatchNorm2d, Classifier, Conv2d, Dense, SameConv2d, leaky_relu


class _Layer(nn.Module):
    """Convolution, leaky ReLU of slope 0.2, BatchNorm: the activation comes first here."""

    def __init__(self, conv: Conv2d, bn_decay: float):
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm2d(conv.out_channels, bn_decay)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(leaky_relu(self.conv(x), 0.2))


class CNN13(Classifier):
    """Two times three 3×3 convolutions and a 2×2 max-pool, an unpadded 3×3, two 1×1, mean over pixels, dense.

    Channels, with f filters: 3 × f, 3 × 2f, 4f, 2f, f.
    """

    def __init__(self, *, classes: int, channels: int, filters: int, bn_decay: float):
        super().__init__()
        f = filters
        convs = [
            *(SameConv2d(channels, f, 3), SameConv2d(f, f, 3), SameConv2d(f, f, 3)),
            *(SameConv2d(f, 2 * f, 3), SameConv2d(2 * f, 2 * f, 3), SameConv2d(2 * f, 2 * f, 3)),
            *(Conv2d(2 * f, 4 * f, 3), SameConv2d(4 * f, 2 * f, 1), SameConv2d(2 * f, f, 1)),
        ]
        layers = [_Layer(conv, bn_decay) for conv in convs]
        self.layers = nn.Sequential(*layers[:3], nn.MaxPool2d(2), *layers[3:6], nn.MaxPool2d(2), *layers[6:])
        self.dense = Dense(f, classes)

    def last_map(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def initialise(self, generator: torch.Generator) -> None:
        """All kernels Glorot uniform."""
        for module in self.modules():
            if isinstance(module, (Conv2d, Dense)):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
