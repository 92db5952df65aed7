"""Several mistakes told at once, so that a file need not be run once for each."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from cissl.errors import UserError


class Mistakes:
    """Mistakes found so far, each told once."""

    def __init__(self) -> None:
        self._found: dict[str, UserError] = {}

    def add(self, error: UserError) -> None:
        """Note one, or several that were told together."""
        for line in str(error).split("\n"):
            self._found.setdefault(line, error)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Go on after a mistake, which is noted."""
        try:
            yield
        except UserError as error:
            self.add(error)

    def attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; None after a mistake, which is noted."""
        with self.noted():
            return function(*arguments)

    def tell(self) -> None:
        """Stop here if there were mistakes.

        Raises:
            UserError: one line for each of them.
        """
        if len(self._found) == 1:
            raise next(iter(self._found.values()))
        if self._found:
            raise UserError("\n".join(self._found))
