"""The values of words without quotes in a YAML file: what a person expects, or an error.

PyYAML reads YAML 1.1, in which ``010`` is 8, ``1:30`` is 90, ``no`` is false and ``5e-4`` is text. Here a number has
decimal digits, ``true`` and ``false`` are the only truth values, and other spellings that YAML 1.1 would convert are
refused.
"""

import math
import re

Scalar = str | int | float | bool | None

WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
YAML_1_1_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
WHOLE = re.compile(r"[-+]?(0|[1-9]\d*|[1-9]\d{0,2}(_\d{3})+)", re.ASCII)  # 1_000 is a thousand
FRACTION = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
LEADING_ZERO = re.compile(r"[-+]?0[\d_]+", re.ASCII)
OTHER_BASE = re.compile(r"[-+]?0[xob][\da-f_]+", re.ASCII | re.IGNORECASE)
SEXAGESIMAL = re.compile(r"[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?", re.ASCII)
NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.ASCII | re.IGNORECASE)
LARGEST = 2**63 - 1  # seeds and sizes are stored in 64 bits


def read(text: str) -> Scalar:
    """The value of a word without quotes.

    Raises:
        ValueError: YAML reads this spelling as another value than a person does, or the number is out of range.
    """
    lower = text.lower()
    if lower in WORDS:
        return WORDS[lower]
    if lower in YAML_1_1_WORDS:
        meant = YAML_1_1_WORDS[lower]
        raise ValueError(f"YAML reads {text} as {meant}; write {meant}, or {_quoted(text)}")
    if WHOLE.fullmatch(text):
        return _whole(text)
    for form, meaning in (
        (LEADING_ZERO, "a number that begins with 0, which YAML may read as octal"),
        (OTHER_BASE, "a number that is not decimal"),
        (SEXAGESIMAL, "a number to the base 60 for YAML"),
        (NOT_FINITE, "not a finite number"),
    ):
        if form.fullmatch(text):
            raise ValueError(f"{text} is {meaning}; write a decimal number, or {_quoted(text)}")
    return _fraction(text) if FRACTION.fullmatch(text) else text


def _whole(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) > len(str(LARGEST)) + 1 or abs(int(digits)) > LARGEST:
        raise ValueError(f"the number is too large; the largest is {LARGEST}")
    return int(digits)


def _fraction(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    if value == 0 and re.search("[1-9]", text.lower().partition("e")[0]):
        raise ValueError(f"{text} is too small to be told from 0")
    return value


def _quoted(text: str) -> str:
    return f"'{text}' in quotes if it is text"
