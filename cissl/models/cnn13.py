"""The 13-layer convolutional network of Mean Teacher (Tarvainen & Valpola 2017), simplified."""

import torch
from torch import Tensor, nn

from cissl.models.layers import BatchNorm2d, Classifier, Conv2d, Dense, SameConv2d, leaky_relu


class _Layer(nn.Module):
    """Convolution, leaky ReLU of slope 0.2, then BatchNorm: here the activation comes first."""

    def __init__(self, conv: Conv2d, bn_decay: float):
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm2d(conv.out_channels, bn_decay)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(leaky_relu(self.conv(x), 0.2))
        return normalised


class CNN13(Classifier):
    """Two times three 3×3 convolutions and a 2×2 max-pool, one 3×3 without padding, two 1×1, mean over pixels, dense.

    With f filters, the convolutions have 3 × f, 3 × 2f, 4f, 2f and f channels.
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
        """Float images (N, C, H, W) → the last feature map (N, width, h, w)."""
        maps: Tensor = self.layers(x)
        return maps

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all kernels from the Glorot uniform distribution, and set every bias to 0."""
        for module in self.modules():
            if isinstance(module, (Conv2d, Dense)):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
