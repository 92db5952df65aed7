"""Text from outside, such as errors and names of folders, made fit to be shown."""

import json
import re
from typing import Any

# Terminals' escape sequences (colours, titles), and other characters that are no text: controls, lone surrogates, and
# marks that turn the direction of what follows.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|\x9b[0-?]*[ -/]*[@-~]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]")


def printable(text: str) -> str:
    """Text without what would steer a terminal or stop LaTeX; newlines and tabs stay."""
    return _NO_TEXT.sub("?", _ESCAPES.sub("", text).replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same without line breaks."""
    return " ".join(printable(text).split())


def load_json(data: bytes) -> Any:
    """What a JSON text says, its strings printable.

    Raises:
        ValueError: it says nothing.
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
