"""Progress bars for long work; silent where nobody watches."""

from collections.abc import Iterator
from typing import NoReturn, Protocol, TypeVar

from tqdm import tqdm

Item = TypeVar("Item", covariant=True)


class Countable(Protocol[Item]):
    """Items of known number, in a list or an array."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...


def progress(what: str, total: int | None, unit: str = " images") -> "tqdm[NoReturn]":
    """A bar that disappears when the work is done, and does not appear where the output is no terminal."""
    return tqdm(total=total, desc=what, unit=unit, unit_scale=True, leave=False, disable=None)


def tracked(items: Countable[Item], what: str) -> Iterator[Item]:
    """The items, while a bar shows how many have been taken."""
    with progress(what, len(items)) as bar:
        for item in items:
            yield item
            bar.update()
