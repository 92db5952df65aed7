"""Checks that the values of a method have the shape and type that the contract asks for.

A check reads the shape and dtype of a tensor and never its values, so that no step waits for the device.
"""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cissl.errors import ContractError

FLOAT, INT64, BOOL = "float", "int64", "bool"


def require_tensor(
    what: str, value: Any, shape: tuple[int | None, ...] = (), *, letters: str = "", kinds: tuple[str, ...] = (FLOAT,)
) -> None:
    """Check that a value is a tensor of a given shape and kind.

    Args:
        what: subject and verb of the message, such as ``PseudoLabels.weights is``.
        value: the value to check.
        shape: the expected sizes, with None for any size; by default those of a scalar.
        letters: the shape in the contract's letters, such as ``(U, C)``.
        kinds: kinds of numbers that are allowed: `FLOAT`, `INT64`, `BOOL`.

    Raises:
        ContractError: the value is something else.
    """
    if isinstance(value, Tensor) and _kind(value.dtype) in kinds and len(value.shape) == len(shape):
        if all(size is None or size == own for size, own in zip(shape, value.shape, strict=True)):
            return
    if not shape:
        wanted = "a scalar, of shape (),"
    elif None in shape:
        wanted = f"a tensor of shape {letters}"
    else:
        wanted = f"a tensor of shape {letters} = {shape}"
    raise ContractError(f"{what} {described(value)}; expected {wanted} of {' or '.join(kinds)}")


def require_number(what: str, value: Any) -> None:
    """Check that a value is a number or a scalar tensor. `what` is subject and verb of the message.

    Raises:
        ContractError: the value is something else.
    """
    if not isinstance(value, Real) and not (isinstance(value, Tensor) and not value.shape):
        raise ContractError(f"{what} {described(value)}; expected a number or a scalar tensor")


def require_dict(what: str, value: Any, kind: type | None = None) -> None:
    """Check that a value is a dict with names as keys. If `kind` is given, its values must be of this class.

    Raises:
        ContractError: the value is something else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ContractError(f"{what} {described(value)}; expected a dict with names as keys")
    if kind is None:
        return
    for name, item in value.items():
        if not isinstance(item, kind):
            raise ContractError(f"{what} '{name}': {described(item)}; expected {kind.__name__}")


def require_terms(what: str, terms: Any) -> None:
    """Check that a value is a dict of named loss terms, each a scalar tensor of floats.

    Raises:
        ContractError: the value is something else.
    """
    require_dict(what, terms)
    for name, term in terms.items():
        require_tensor(f"{what} '{name}':", term)


def described(value: Any) -> str:
    """Describe a value: ``a tensor of shape (14, 10), float32``, or its type and, if short, the value itself."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    text = repr(value)
    return "None" if value is None else f"{type(value).__name__} {text}" if len(text) < 40 else type(value).__name__


def _kind(dtype: torch.dtype) -> str:
    return FLOAT if dtype.is_floating_point else str(dtype).removeprefix("torch.")
