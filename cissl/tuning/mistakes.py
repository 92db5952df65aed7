"""Collects mistakes, so that people learn of all of them at once and not of one in each run."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from cissl.errors import UserError


class Mistakes:
    """The mistakes that were found so far. Each is reported once."""

    def __init__(self) -> None:
        self._found: dict[str, UserError] = {}

    def add(self, error: UserError) -> None:
        """Note a mistake, or several that one error reports together."""
        for line in str(error).split("\n"):
            self._found.setdefault(line, error)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """A context that notes a `UserError` and then continues after it."""
        try:
            yield
        except UserError as error:
            self.add(error)

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and note a `UserError`.

        Returns:
            What the function returns; None after a mistake. Call `tell` before you use it.
        """
        with self.noted():
            return function(*arguments)

    def tell(self) -> None:
        """Raise an error if there were mistakes.

        Raises:
            UserError: its message has one line for each of them.
        """
        if len(self._found) == 1:
            raise next(iter(self._found.values()))
        if self._found:
            raise UserError("\n".join(self._found))
