"""Building a backbone by name, and what is asked of any of them."""

import torch
from torch import nn

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
    """A freshly initialised network on the CPU, in training mode.

    `model(x)` gives logits (N, classes), `model.embed(x)` the features (N, width) before them.

    Args:
        arch: one of `ARCHS`; ``torchvision.`` or ``timm.`` and a name of theirs, see `build_library`; or a class of a
            user's own such as ``ours.py:Net``, see `build_own`.
        classes: number of logits.
        side: pixels along one side of the (square) images.
        channels: of the images, 1 or 3.
        filters: channels of the first stage.
        repeat: blocks in each stage (wrn alone).
        scales: stages, None for `default_scales(side)` (wrn alone).
        bn_decay: share that BatchNorm's moving averages keep at each training step.
        seed: of the initial kernels. The global random state is neither read nor changed.
        data: name of the data set, for messages.

    Raises:
        UserError: for an unknown `arch`, a missing library, a size below 1, or images too small for the network.
    """
    if plugins.is_plugin(arch):
        own = {"filters": filters, "repeat": repeat, "scales": scales, "bn_decay": bn_decay}
        return build_own(arch, side=side, channels=channels, classes=classes, seed=seed, sizes=own, data=data)
    if library_of(arch):
        return build_library(arch, side=side, channels=channels, classes=classes, bn_decay=bn_decay, seed=seed)
    check_sizes(arch, side=side, filters=filters, repeat=repeat, scales=scales)
    sizes = {"classes": classes, "channels": channels, "filters": filters, "bn_decay": bn_decay}
    if arch == "wrn":
        model = WideResNet(repeat=repeat, scales=default_scales(side) if scales is None else scales, **sizes)
    else:
        model = {"res18": ResNet18, "cnn13": CNN13}[arch](**sizes)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def decayed_kernels(model: nn.Module) -> list[nn.Parameter]:
    """What weight decay applies to: the kernels of convolutions, of dense layers and of a library's attention."""
    kernels = [module.weight for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return kernels + (model.kernels if isinstance(model, LibraryBackbone) else [])


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())
