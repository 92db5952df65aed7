"""Backbones of torchvision and timm, such as ``torchvision.resnet50``, and files of weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cissl.errors import UserError, nearest
from cissl.models.names import require_library
from cissl.models.own_backbone import OwnBackbone, require_last_layer

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each colour in [0, 1]
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of torchvision's networks
WRAPPED = ("state_dict", "model", "model_state_dict")  # keys under which files keep their weights
OURS = ("dense.", "heads.")  # the last layers of our trials
IGNORED = ("network.AuxLogits.", "network.aux1.", "network.aux2.")  # Inception has them only in training
PREFIXES = ("module.", "network.")  # of names of weights, in files of DataParallel and of our trials


class LibraryBackbone(OwnBackbone):
    """A library's network, which gets images in three colours with the mean and deviation that it expects.

    Args:
        network: see `OwnBackbone`.
        name: for messages.
        classes: number of logits.
        normalisation: mean and standard deviation of each colour in [0, 1].

    Attributes:
        scale, shift: what makes images in [-1, 1] such images, (3, 1, 1) float.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, name: str, classes: int, normalisation: Normalisation):
        super().__init__(network, name, classes)
        mean, std = (torch.tensor(values)[:, None, None] for values in normalisation)
        # For x in [−1, 1], this is ((x + 1) / 2 − mean) / deviation.
        self.register_buffer("scale", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)

    def embed(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) in [-1, 1] → features (N, width) before the last dense layer."""
        features: Tensor = self.network((x * self.scale + self.shift).to(x.dtype))  # one colour becomes three
        return features

    @property
    def kernels(self) -> list[Tensor]:
        """Kernels of attention, (3·width, width) each, which are neither of convolutions nor of dense layers."""
        attention = (module for module in self.modules() if isinstance(module, nn.MultiheadAttention))
        return [module.in_proj_weight for module in attention if module.in_proj_weight is not None]


def build_library(name: str, *, side: int, channels: int, classes: int, bn_decay: float, seed: int) -> LibraryBackbone:
    """Make a network of torchvision or timm with fresh weights.

    The library's initialisers draw from the seed alone, and the global random state is restored. The moving averages of
    BatchNorm layers keep the share `bn_decay`.

    Args:
        name: ``torchvision.`` or ``timm.``, and the library's name of the network.
        side: pixels along one side of the images. Networks that take one size alone are made for this size.
        channels: of the images; gray ones become three equal colours.
        classes: number of logits.
        bn_decay: see `cissl.models.backbones.build`.
        seed: of the initial weights.

    Raises:
        UserError: the library is missing, has no such network, or makes none for images of this size.
    """
    require_library(name)
    library, _, model = name.partition(".")
    make = {"torchvision": _torchvision, "timm": _timm}[library]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network, normalisation = make(model, side, classes)
            backbone = _tried(network.to(torch.get_default_dtype()), name, side, channels, classes, normalisation)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"arch '{name}' cannot be made for images of {side} pixels and {classes} classes: "
                f"{type(error).__name__}: {' '.join(str(error).split())}",
                key="arch",
            ) from error
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1 - bn_decay
    return backbone.train()


@torch.no_grad()
def _tried(
    network: nn.Module, name: str, side: int, channels: int, classes: int, normalisation: Normalisation
) -> LibraryBackbone:
    """The backbone, after a try on two random images.

    Raises:
        UserError: see `require_last_layer`.
    """
    images = torch.rand(2, channels, side, side, dtype=torch.get_default_dtype()) * 2 - 1
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation)
    whole = network.eval()(((images + 1) / 2 - mean) / std)
    backbone = LibraryBackbone(network, name, classes, normalisation)
    require_last_layer(backbone, name, images, whole)
    return backbone


def _torchvision(name: str, side: int, classes: int) -> tuple[nn.Module, Normalisation]:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"torchvision has no network '{name}'{nearest(name, known)}", key="arch")
    options: dict[str, Any] = {"num_classes": classes}
    if name.startswith("vit_"):
        options["image_size"] = side
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, weights=None, **options)
    return network, IMAGENET


def _timm(name: str, side: int, classes: int) -> tuple[nn.Module, Normalisation]:
    import timm
    from timm.models import PretrainedCfg

    if not timm.is_model(name):
        raise UserError(f"timm has no network '{name}'{nearest(name, timm.list_models())}", key="arch")
    made_for = timm.get_pretrained_cfg(name) or PretrainedCfg()
    options: dict[str, Any] = {"img_size": side} if made_for.fixed_input_size else {}
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **options)
    return network, (made_for.mean, made_for.std)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a file into a network, except those of its last dense layer, which stays unchanged.

    The file holds a state dict, alone or under ``state_dict``, ``model`` or ``model_state_dict``, as torch or
    safetensors write it. The ``weights.pt`` of a trial is such a file. Position embeddings of another image size are
    resampled.

    Args:
        model: a network of `cissl.models.backbones.build`, changed in place.
        path: the file.

    Raises:
        UserError: the file cannot be read, or belongs to another network.
    """
    found = _named(_read(path), model)
    wanted = model.state_dict()
    last = f"network.{model.last_layer}." if isinstance(model, OwnBackbone) else "dense."
    unknown = [name for name in found if name not in wanted and not name.startswith((last, *IGNORED))]
    kept = {name for name in wanted if name.startswith("dense.") or name.endswith("num_batches_tracked")}
    wrong = [
        f"{name} is {tuple(found[name].shape)} in the file and {tuple(value.shape)} in the network"
        if name in found
        else f"{name} is not in the file"
        for name, value in wanted.items()
        if name not in kept and (name not in found or found[name].shape != value.shape)
    ]
    wrong += [f"{name} is not in the network" for name in unknown]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"weights {path} are not of this network: {'; '.join(wrong[:3])}{more}", key="weights")
    with torch.no_grad():
        for name, value in wanted.items():
            if name not in kept:
                value.copy_(found[name])


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict of a file.

    Raises:
        UserError: it cannot be read, or safetensors is missing.
    """
    values: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            values = load_file(path)
        else:
            values = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise UserError(
            f"weights {path}: reading them needs safetensors: pip install safetensors", key="weights"
        ) from None
    except Exception as error:  # a file of any content can raise anything
        raise UserError(f"weights {path} cannot be read: {' '.join(str(error).split()):.300}", key="weights") from None
    for key in WRAPPED:
        if isinstance(values, Mapping) and isinstance(values.get(key), Mapping):
            values = values[key]
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise UserError(f"weights {path} hold no state dict, names and tensors", key="weights")
    return dict(values)


def _named(values: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights under the names of our networks, with position embeddings for the network's number of pixels."""
    inside = "network." if isinstance(model, OwnBackbone) else ""
    named = {}
    for name, value in values.items():
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        if not name.startswith(OURS):
            named[inside + name] = value
    for name, value in model.state_dict().items():
        if name.endswith(("pos_embed", "pos_embedding")) and name in named and named[name].shape != value.shape:
            named[name] = _resampled(named[name], value.shape[1])
    return named


def _resampled(embedding: Tensor, tokens: int) -> Tensor:
    """Position embeddings (1, class token + grid, D) for a square grid of another size."""
    grid, there = int((tokens - 1) ** 0.5), int((embedding.shape[1] - 1) ** 0.5)
    if embedding.ndim != 3 or grid**2 != tokens - 1 or there**2 != embedding.shape[1] - 1:
        return embedding  # its form is unknown; the check of shapes will refuse it
    pixels = embedding[:, 1:].float().transpose(1, 2).reshape(len(embedding), -1, there, there)
    pixels = nn.functional.interpolate(pixels, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([embedding[:, :1], pixels.flatten(2).transpose(1, 2).to(embedding.dtype)], dim=1)
