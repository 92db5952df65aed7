"""Tables that are made once for each device and size, and then kept."""

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

Function = TypeVar("Function", bound=Callable)
_KEPT: list = []


def constant(function: Function) -> Function:
    """Keep what the function returns for its arguments; to a compiler it is a constant, which no step makes again."""
    kept = functools.lru_cache(maxsize=64)(function)
    _KEPT.append(kept)

    @functools.wraps(function)
    def constant_function(*arguments):
        return kept(*arguments)

    return torch.compiler.assume_constant_result(constant_function)


def forget() -> None:
    """Make all tables anew when they are needed next."""
    for kept in _KEPT:
        kept.cache_clear()
