"""Tables that are made once for each device and size, and then kept."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])
_KEPT: list["functools._lru_cache_wrapper[Any]"] = []


def constant(function: Function) -> Function:
    """Keep what the function returns for its arguments. For a compiler the result is a constant that no step makes."""
    kept = functools.lru_cache(maxsize=64)(function)
    _KEPT.append(kept)

    @functools.wraps(function)
    def constant_function(*arguments: Any) -> Any:
        return kept(*arguments)

    made = torch.compiler.assume_constant_result(constant_function)  # type: ignore[no-untyped-call]  # torch: no types
    return cast(Function, made)


def forget() -> None:
    """Drop all tables. They are made again when they are next needed."""
    for kept in _KEPT:
        kept.cache_clear()
