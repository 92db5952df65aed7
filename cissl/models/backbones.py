"""Builds backbones by name, and tells what training needs to know of them."""

import torch
from torch import Tensor, nn

from cissl import plugins
from cissl.models.cnn13 import CNN13
from cissl.models.layers import Classifier
from cissl.models.library import LibraryBackbone, build_library
from cissl.models.names import check_sizes, default_scales, library_of
from cissl.models.own_backbone import build_own
from cissl.models.resnet18 import ResNet18
from cissl.models.wide_resnet import WideResNet


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
    data: str = "",
) -> Classifier:
    """Make a network with fresh weights on the CPU, in training mode.

    `model(x)` gives logits (N, classes), `model.embed(x)` the features (N, width) before them.

    Args:
        arch: one of `ARCHS`; ``torchvision.`` or ``timm.`` and a name of theirs, see `build_library`; or a user's class
            such as ``ours.py:Net``, see `build_own`.
        classes: number of logits.
        side: pixels along one side of the (square) images.
        channels: of the images, 1 or 3.
        filters: channels of the first stage.
        repeat: blocks in each stage (only wrn).
        scales: number of stages; None for `default_scales(side)` (only wrn).
        bn_decay: share that BatchNorm's moving averages keep at each training step.
        seed: of the initial weights. The global random state is neither read nor changed.
        data: name of the data set, for messages.

    Raises:
        UserError: `arch` is unknown, its library is missing, a size is below 1, or the images are too small.
    """
    if plugins.is_plugin(arch):
        own = {"filters": filters, "repeat": repeat, "scales": scales, "bn_decay": bn_decay}
        return build_own(arch, side=side, channels=channels, classes=classes, seed=seed, sizes=own, data=data)
    if library_of(arch):
        return build_library(arch, side=side, channels=channels, classes=classes, bn_decay=bn_decay, seed=seed)
    check_sizes(arch, side=side, filters=filters, repeat=repeat, scales=scales)
    stages = default_scales(side) if scales is None else scales
    model = _ours(arch, classes, channels, filters, repeat, stages, bn_decay)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def _ours(
    arch: str, classes: int, channels: int, filters: int, repeat: int, scales: int, bn_decay: float
) -> Classifier:
    """One of our own networks, without weights."""
    if arch == "wrn":
        return WideResNet(
            classes=classes, channels=channels, filters=filters, repeat=repeat, scales=scales, bn_decay=bn_decay
        )
    network = {"res18": ResNet18, "cnn13": CNN13}[arch]
    return network(classes=classes, channels=channels, filters=filters, bn_decay=bn_decay)


def decayed_kernels(model: nn.Module) -> list[Tensor]:
    """What weight decay applies to: kernels of convolutions, of dense layers and of attention, each (outputs, …)."""
    kernels: list[Tensor] = [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return kernels + (model.kernels if isinstance(model, LibraryBackbone) else [])


def parameter_count(model: nn.Module) -> int:
    """Number of values in all parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
