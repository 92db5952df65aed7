"""Odd words, texts, values and bytes."""

import random
import string

from tests.analysis.damage import ODD

WORDS = (
    "", " ", "0", "-1", "1e309", "nan", "inf", "1e30", "9" * 400, "true", "null", "~", "[]", "{}", "x", "a=b", "--",
    "-", "日本", "\x1b[31m", "a\nb", "../..", "/dev/null", "s3:/x", "x" * 300, "%s", "{seed}", "1:30", "010", "0x1f",
    "1_000", "5e-1", "cadr", "fixmatch+", "+", "ours.py:X", "digits", "digits.1@40-1", "cifar10_LT_20.1@20-1",
    "~nobody-here/x", "caf\udce9", "a,b", "[1, 2]", "1,5", "１０", "None", "~/x", "own", ".",
)  # fmt: skip


def mangled(text: str, r: random.Random) -> str:
    """The text with a few characters changed, doubled or taken out."""
    characters = list(text)
    for _ in range(r.randrange(1, 4)):
        place = r.randrange(len(characters) + 1)
        new = r.choice(string.punctuation + string.digits + "\t\né日 ")
        characters[place : place + r.randrange(3)] = [new] * r.randrange(3)
    return "".join(characters)


def spellings(word: str) -> list[str]:
    """How a message may name a word; of ``FILE.py:NAME`` the file may be at fault, and ``~`` stands for a folder."""
    parts = [word.partition(":")[0]] if ".py:" in word else [word[1:]] if word.startswith("~/") else []
    if not word.strip():
        parts = ["unrecognized arguments", "empty"]  # argparse shows them as they are
    return [word, word.lower(), ascii(word)[1:-1], f"'{word}'", *parts]


def changed(value: object, r: random.Random) -> tuple[object, list[str]]:
    """The value with one entry, at any depth, taken out, renamed or replaced by something odd.

    Returns:
        The new value, and what a message about it may name: the keys that lead to the change, and what is new.
    """
    if isinstance(value, dict) and value and r.random() < 0.85:
        value = dict(value)
        key = r.choice(list(value))
        names = [str(key)]
        way = r.random()
        if way < 0.15:
            del value[key]
        elif way < 0.3:
            names.append(mangled(str(key), r))
            value[names[-1]] = value.pop(key)
        else:
            value[key], more = changed(value[key], r)
            names += more
        return value, names
    if isinstance(value, list) and value and r.random() < 0.7:
        place = r.randrange(len(value))
        odd, names = changed(value[place], r)
        return [*value[:place], odd, *value[place + r.randrange(2) :]], names
    odd = r.choice([*ODD, *WORDS])
    odd = odd.encode("utf-8", "replace").decode() if isinstance(odd, str) else odd
    keys = [f"'{key}" for key in odd] if isinstance(odd, dict) else []
    return odd, [str(odd), *keys]


def flipped(data: bytes, r: random.Random) -> bytes:
    """The bytes cut off somewhere, or with a few of them changed."""
    data = bytearray(data[: r.randrange(len(data) + 1)] if r.random() < 0.4 else data)
    for _ in range(r.randrange(1, 5)):
        if data:
            data[r.randrange(len(data))] = r.randrange(256)
    return bytes(data)
