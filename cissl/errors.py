"""The one exception that stands for a user's mistake, and how commands deal with the world around them."""

import difflib
import io
import os
import sys
from collections.abc import Iterable
from typing import TextIO


class UserError(ValueError):
    """A mistake that a person can mend: command-line tools show its message alone and exit with 2.

    Args:
        message: what is wrong, with the offending value, and how to mend it.
        key: the setting at fault, so that a caller who knows where it was written can name the line.
    """

    def __init__(self, message: str, *, key: str | None = None):
        super().__init__(message)
        self.key = key


class ContractError(TypeError):
    """A method that does not keep to the contract of `cissl.algorithms.contract`.

    Args:
        message: what is wrong, and what is meant.
        function: name of the method's function at fault, where that is not the one that was called.

    Attributes:
        place: ``file:line`` of what is at fault, where that is code of a user's own.
    """

    def __init__(self, message: str, *, function: str | None = None):
        super().__init__(message)
        self.function = function
        self.place: str | None = None


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase ready to append to a message: ``"; did you mean 'X'?"`` or the known names."""
    known = sorted(str(k) for k in known)
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{by_lower[close[0]]}'?"
    return f"; known: {', '.join(known)}"


def reader_has_gone() -> int:
    """What a command returns after BrokenPipeError: its reader, such as head, has seen enough, which is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still holds back
    return 0


def accept_any_text(*streams: TextIO) -> None:
    """Let streams replace characters that their encoding lacks by ``?``, so that none ends the program.

    Terminals and logs that are not UTF-8 are common: ``γ`` in a table or a folder's name must not stop a sweep. Nor
    must a stdout or stderr that the caller has closed: what is written there is dropped.

    Args:
        streams: by default stdout and stderr.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
