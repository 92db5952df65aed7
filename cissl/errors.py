"""The exceptions for a user's and for a method's mistake, words of messages, and how commands treat their output."""

import difflib
import io
import os
import sys
from collections.abc import Iterable
from typing import TextIO


class UserError(ValueError):
    """A mistake of the user. Commands print only its message, without a traceback, and exit with 2.

    Args:
        message: what is wrong, with the value, and what to do.
        key: the setting that is wrong. A caller who knows where the setting was written can add the line.
    """

    def __init__(self, message: str, *, key: str | None = None):
        super().__init__(message)
        self.key = key


class ContractError(TypeError):
    """A method breaks the contract of `cissl.algorithms.contract`.

    Args:
        message: what is wrong, and what is expected.
        function: name of the method's function that is wrong, if it is not the one that was called.

    Attributes:
        place: ``file:line`` of the fault, if it is in the user's own code.
    """

    def __init__(self, message: str, *, function: str | None = None):
        super().__init__(message)
        self.function = function
        self.place: str | None = None


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: ``"; did you mean 'X'?"``, or all known names.

    Args:
        name: what somebody wrote.
        known: the names that exist.
    """
    known = sorted(str(k) for k in known)
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{by_lower[close[0]]}'?"
    return f"; known: {', '.join(known)}"


def counted(number: int, thing: str) -> str:
    """A number of things in words: ``1 trial``, ``2 trials``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def reader_has_gone() -> int:
    """Handle a BrokenPipeError: the reader of stdout, such as ``head``, has read enough and ended.

    Returns:
        The exit code of the command, 0: this is no failure.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest of its buffer there
    return 0


def accept_any_text(*streams: TextIO) -> None:
    """Make streams write ``?`` for characters that their encoding lacks, instead of raising an error.

    Some terminals and logs are not UTF-8. A ``γ`` in a table or in a folder's name must not stop a sweep there. Nor may
    a stdout or stderr that the caller has closed: what is written there is dropped.

    Args:
        streams: by default stdout and stderr.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in streams or (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
