"""Whether what a method makes has the shape and type that the contract asks for, in words where it has not.

Only what a tensor knows without its values is looked at, so that no step waits for the device.
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
    """See that a value is a tensor of a shape and kind.

    Args:
        what: subject and verb of the message, such as ``PseudoLabels.weights is``.
        value: what is looked at.
        shape: its sizes, None for any; by default a scalar's.
        letters: the shape in the contract's letters, such as ``(U, C)``.
        kinds: of its numbers, `FLOAT`, `INT64` or `BOOL`.

    Raises:
        ContractError: it is something else.
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
    raise ContractError(f"{what} {told(value)}; {wanted} of {' or '.join(kinds)} is meant")


def require_number(what: str, value: Any) -> None:
    """See that a value is a number or a scalar tensor.

    Raises:
        ContractError: it is something else.
    """
    if not isinstance(value, Real) and not (isinstance(value, Tensor) and not value.shape):
        raise ContractError(f"{what} {told(value)}; a number or a scalar tensor is meant")


def require_dict(what: str, value: Any, kind: type | None = None) -> None:
    """See that a value is a dict with names as keys, and values of a kind where one is given.

    Raises:
        ContractError: it is something else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ContractError(f"{what} {told(value)}; a dict with names as keys is meant")
    for name, item in value.items() if kind else ():
        if not isinstance(item, kind):
            raise ContractError(f"{what} '{name}': {told(item)}; {kind.__name__} is meant")


def require_terms(what: str, terms: Any) -> None:
    """See that a value is a dict of named terms of a loss, scalars.

    Raises:
        ContractError: it is something else.
    """
    require_dict(what, terms)
    for name, term in terms.items():
        require_tensor(f"{what} '{name}':", term)


def told(value: Any) -> str:
    """A value in words: ``a tensor of shape (14, 10), float32``, or its type and what it is."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    text = repr(value)
    return "None" if value is None else f"{type(value).__name__} {text}" if len(text) < 40 else type(value).__name__


def _kind(dtype: torch.dtype) -> str:
    return FLOAT if dtype.is_floating_point else str(dtype).removeprefix("torch.")
