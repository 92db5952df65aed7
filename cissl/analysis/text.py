"""Cleans text from outside, such as errors and names of folders, before it is shown."""

import json
import re
from typing import Any

# Escape sequences of terminals (colours, titles), and characters that show no text: controls, lone surrogates, and
# marks that change the direction of the text after them.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|\x9b[0-?]*[ -/]*[@-~]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]")


def printable(text: str) -> str:
    """Remove what would control a terminal or stop LaTeX; newlines and tabs stay."""
    return _NO_TEXT.sub("?", _ESCAPES.sub("", text).replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Printable text on one line: every run of white space becomes one space."""
    return " ".join(printable(text).split())


def load_json(data: bytes) -> Any:
    """Parse UTF-8 encoded JSON and make its strings printable.

    Raises:
        ValueError: the data is not JSON.
    """
    text = data.decode()
    try:
        value = json.loads(text)
        return _made_printable(value) if "\\u" in text or _NO_TEXT.search(text) else value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _made_printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_made_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _made_printable(item) for key, item in value.items()}
    return value
