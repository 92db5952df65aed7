"""The reference's variable names for a model's parameters and moving statistics, with its array layouts.

TensorFlow numbers layers of a kind in creation order, which is the order of our submodules:
classify/conv2d/kernel, classify/conv2d_1/kernel, …, classify/batch_normalization/gamma, classify/dense/bias.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

_KINDS = {
    nn.Conv2d: ("conv2d", {"kernel": "weight", "bias": "bias"}),
    nn.BatchNorm2d: (
        "batch_normalization",
        {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"},
    ),
    nn.Linear: ("dense", {"kernel": "weight", "bias": "bias"}),
}
# Kernels HWIO → OIHW and (in, out) → (out, in), and back.
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_TO_REFERENCE = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def variables(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(reference's name, our tensor) in the reference's creation order, moving statistics included."""
    counts = dict.fromkeys(_KINDS, 0)
    for module in model.modules():
        for kind, (layer, attributes) in _KINDS.items():
            if isinstance(module, kind):
                suffix = f"_{counts[kind]}" if counts[kind] else ""
                counts[kind] += 1
                for name, attribute in attributes.items():
                    yield f"classify/{layer}{suffix}/{name}", getattr(module, attribute)


@torch.no_grad()
def load_variables(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Copy the reference's arrays into `model`, whatever its dtype. Moving statistics may be missing.

    Raises:
        KeyError: for a name that the model lacks, or a parameter that `arrays` lack.
        ValueError: for another shape.
    """
    tensors = dict(variables(model))
    missing = {name for name in tensors if "moving_" not in name} - set(arrays)
    if missing or set(arrays) - set(tensors):
        raise KeyError(f"missing {sorted(missing)}, unknown {sorted(set(arrays) - set(tensors))}")
    for name, array in arrays.items():
        value = np.ascontiguousarray(np.transpose(array, _TO_TORCH[array.ndim]))
        if value.shape != tuple(tensors[name].shape):
            raise ValueError(f"{name}: {value.shape} for {tuple(tensors[name].shape)}")
        tensors[name].copy_(torch.from_numpy(value))


def as_reference(tensor: Tensor) -> np.ndarray:
    """One of our tensors (a parameter, its gradient, a statistic), copied into the reference's layout."""
    return np.transpose(tensor.detach().cpu().numpy(), _TO_REFERENCE[tensor.ndim]).copy()


def read_variables(model: nn.Module) -> dict[str, np.ndarray]:
    """The inverse of `load_variables`: copies of all parameters and moving statistics."""
    return {name: as_reference(tensor) for name, tensor in variables(model)}
