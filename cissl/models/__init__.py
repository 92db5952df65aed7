"""Backbones: float images in [-1, 1] of shape (N, C, H, W) → logits (N, classes)."""

import torch
from torch import nn

from cissl.errors import UserError, nearest
from cissl.models.cnn13 import CNN13
from cissl.models.layers import BatchNorm2d, Classifier, synchronise
from cissl.models.resnet18 import ResNet18
from cissl.models.wide_resnet import WideResNet

__all__ = [
    "ARCHS",
    "BatchNorm2d",
    "build",
    "decayed_kernels",
    "default_scales",
    "parameter_count",
    "synchronise",
]

ARCHS: tuple[str, ...] = ("wrn", "res18", "cnn13")
# Below these a pooling or an unpadded convolution would have no pixel left.
_SMALLEST_SIDE = {"wrn": 1, "res18": 3, "cnn13": 12}


def default_scales(side: int) -> int:
    """Stages of a WideResNet for images of `side` pixels, ⌈log2(side)⌉ − 2, as in the reference."""
    return (side - 1).bit_length() - 2


def build(
    arch: str,
    *,
    classes: int,
    side: int,
    channels: int = 3,
    filters: int = 32,
    repeat: int = 4,
    scales: int | None = None,
    bn_decay: float = 0.999,
    seed: int = 0,
) -> Classifier:
    """A freshly initialised network on the CPU, in training mode.

    `model(x)` gives logits (N, classes), `model.embed(x)` the features (N, width) before them.

    Args:
        arch: one of `ARCHS`.
        classes: number of logits.
        side: pixels along one side of the (square) images.
        channels: of the images, 1 or 3.
        filters: channels of the first stage.
        repeat: blocks in each stage (wrn alone).
        scales: stages, None for `default_scales(side)` (wrn alone).
        bn_decay: share that BatchNorm's moving averages keep at each training step.
        seed: of the initial kernels. The global random state is neither read nor changed.

    Raises:
        UserError: for an unknown `arch`, a size below 1, or images too small for the network.
    """
    if arch not in ARCHS:
        raise UserError(f"arch '{arch}' does not exist{nearest(arch, ARCHS)}", key="arch")
    for key, value in (("filters", filters), ("repeat", repeat)):
        if value < 1:
            raise UserError(f"{key} is {value}; it must be at least 1", key=key)
    if side < _SMALLEST_SIDE[arch]:
        raise UserError(
            f"arch '{arch}' needs images of at least {_SMALLEST_SIDE[arch]} pixels a side, "
            f"these have {side}; use 'wrn'",
            key="arch",
        )
    sizes = {"classes": classes, "channels": channels, "filters": filters, "bn_decay": bn_decay}
    if arch == "wrn":
        model = WideResNet(repeat=repeat, scales=_checked_scales(scales, side), **sizes)
    else:
        model = {"res18": ResNet18, "cnn13": CNN13}[arch](**sizes)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def _checked_scales(scales: int | None, side: int) -> int:
    """`scales`, or its default, if the last stage keeps at least one whole pixel."""
    if scales is None:
        scales = default_scales(side)
    most = side.bit_length()  # 2^(most - 1) ≤ side
    if not 1 <= scales <= most:
        raise UserError(
            f"scales is {scales}; images of {side} pixels a side allow 1 to {most}, "
            "since every stage after the first halves them",
            key="scales",
        )
    return scales


def decayed_kernels(model: nn.Module) -> list[nn.Parameter]:
    """The kernels of convolutions and dense layers: what weight decay applies to, and nothing else."""
    return [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())
