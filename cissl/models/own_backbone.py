"""Backbones of users: any `nn.Module` whose last dense layer gives the logits."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cissl import plugins
from cissl.errors import UserError
from cissl.models.layers import Classifier, sees_map
from cissl.models.names import ARCHS


class OwnBackbone(Classifier):
    """A user's network, divided into features and the dense layer that makes the logits.

    Attributes:
        last_layer: the name of that layer in the network.
        network: the network without that layer: images (N, channels, H, W) → features (N, width).

    Args:
        network: maps images (N, channels, H, W) to logits (N, classes) by a last `nn.Linear`.
        name: for messages.
        classes: number of logits.

    Raises:
        UserError: it has no `nn.Linear` with that many outputs.
    """

    def __init__(self, network: nn.Module, name: str, classes: int):
        super().__init__()
        found = [(path, m) for path, m in network.named_modules() if isinstance(m, nn.Linear)]
        found = [(path, layer) for path, layer in found if layer.out_features == classes]
        if not found:
            raise UserError(
                f"arch '{name}' has no nn.Linear with {classes} outputs to make the logits of {classes} classes; "
                "take the number from the argument 'classes'",
                key="arch",
            )
        self.last_layer, self.dense = found[-1]
        parent, _, layer = self.last_layer.rpartition(".")
        setattr(network.get_submodule(parent), layer, nn.Identity())
        self.network = network

    def embed(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → features (N, width) before the last dense layer."""
        features: Tensor = self.network(x)
        return features

    def add_heads(self, heads: dict[str, nn.Module]) -> None:
        """Give the network further modules, which take its features; see `Classifier`.

        Raises:
            UserError: a head takes the last feature map, which is not known for a user's network.
        """
        if any(map(sees_map, heads.values())):
            raise UserError(
                "this algorithm needs the network's last feature map, which is not known for a network of your own; "
                f"use {', '.join(ARCHS)}",
                key="arch",
            )
        super().add_heads(heads)


def build_own(
    name: str, *, side: int, channels: int, classes: int, seed: int, sizes: Mapping[str, Any], data: str = ""
) -> Classifier:
    """Make a network of a user's class, such as ``ours.py:Net``, and try it on two images.

    The constructor gets those of the arguments ``classes``, ``channels``, ``side``, ``filters``, ``repeat``, ``scales``
    and ``bn_decay`` that it names. The global random state is seeded for the call and restored afterwards.

    Args:
        name: file and class.
        side: pixels along one side of the images.
        channels: of the images.
        classes: number of logits.
        seed: of the initial weights.
        sizes: further arguments of the constructor.
        data: name of the data set, for messages.

    Raises:
        UserError: the class cannot be made, or does not give logits of such images. The message names file and line.
    """
    plugin = plugins.load(name)
    arguments = {"classes": classes, "channels": channels, "side": side, **sizes}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = plugin(**_named(plugin, arguments))
            model = _tried(network, name, classes, torch.Size((2, channels, side, side)))
    except UserError:
        raise
    except Exception as error:
        place = plugins.place_of(error) or name
        raise UserError(
            f"arch: {place}: {type(error).__name__}: {error}; images{data and f' of {data}'} are {side} × {side} "
            f"pixels with {channels} {'channel' if channels == 1 else 'channels'}, in {classes} classes",
            key="arch",
        ) from error
    return model.train()


def _tried(network: object, name: str, classes: int, shape: torch.Size) -> OwnBackbone:
    """The backbone, after a try on random images of this shape.

    Raises:
        TypeError: the network is no module.
        UserError: see `OwnBackbone` and `require_last_layer`.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name} is no torch.nn.Module")
    images = torch.rand(shape, dtype=torch.get_default_dtype()) * 2 - 1
    with torch.no_grad():
        whole = network.eval()(images)
    model = OwnBackbone(network, name, classes)
    require_last_layer(model, name, images, whole)
    return model


def _named(plugin: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(plugin).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(arguments)
    return {key: value for key, value in arguments.items() if key in parameters}


@torch.no_grad()
def require_last_layer(model: Classifier, name: str, images: Tensor, whole: Tensor) -> None:
    """Check that a network's output is what its last dense layer makes of the features.

    Args:
        name: of the network, for messages.
        images: (N, channels, H, W), float.
        whole: (N, classes), the output of the undivided network for these images.

    Raises:
        UserError: features are not (N, width), or the outputs differ.
    """
    logits, features, _ = model.eval().outputs(images.to(model.dense.weight.dtype))
    if features.ndim != 2:
        raise UserError(
            f"arch '{name}': images of shape {tuple(images.shape)} give features of shape {tuple(features.shape)} "
            f"before the last nn.Linear; they must be ({len(images)}, width)",
            key="arch",
        )
    if whole.shape != logits.shape or not torch.allclose(whole.to(logits.dtype), logits, rtol=1e-4, atol=1e-5):
        raise UserError(
            f"arch '{name}': its forward must end with its last nn.Linear and return that layer's output, the logits, "
            "as they are; features and logits are taken on both sides of that layer",
            key="arch",
        )
