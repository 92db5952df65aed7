"""A setting: a dataclass field with its meaning, its symbol in the paper, and the values that are allowed."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from cissl.errors import UserError, nearest
from cissl.plugins import is_plugin

TYPES = "float, int, bool or str, or one of them or None"
LARGEST_FLOAT = 1e38  # networks calculate with 32-bit floats, whose largest value is 3.4e38


def setting(
    default: Any,
    help: str,
    *,
    symbol: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
    changes_result: bool = True,
    plain: bool = False,
    or_plugin: bool = False,
    or_prefix: tuple[str, ...] = (),
    added_later: bool = False,
    other: Any = None,
    acts_with: Mapping[str, Any] | None = None,
) -> Any:
    """A field of a settings dataclass.

    Args:
        default: the value if nobody gives one; None if the program computes it.
        help: what the setting means, in a few words; shown by ``--help`` and by the lists of methods.
        symbol: the paper's letter for it.
        at_least, above, at_most: bounds of a number; `above` is exclusive.
        choices: the texts that are allowed.
        changes_result: whether another value changes a trial's result. Then it is a part of the trial's hash.
        plain: for an add-on's setting: its key is the name alone, without the add-on's name and a dot before it.
        or_plugin: whether the user's own code, such as ``ours.py:Net``, is allowed beside the choices.
        or_prefix: texts that begin with one of these are allowed beside the choices.
        added_later: whether older trials do not have this setting. At its default it is then left out of the hash, so
            that these trials keep their hashes.
        other: for tests: a value that changes the result of a trial of a dozen steps. By default tests find one.
        acts_with: for tests: key → value of other settings with which this setting has an effect, if it has none with
            their defaults.
    """
    metadata = dict(
        help=help,
        symbol=symbol,
        at_least=at_least,
        above=above,
        at_most=at_most,
        choices=choices,
        changes_result=changes_result,
        plain=plain,
        or_plugin=or_plugin,
        or_prefix=or_prefix,
        added_later=added_later,
        other=other,
        acts_with=acts_with or {},
    )
    return dataclasses.field(default=default, metadata=metadata)


def checked(field: dataclasses.Field[Any], value: Any, key: str | None = None) -> Any:
    """A value, converted to the field's type and checked against its bounds.

    A float may be given as an int, or as text such as ``5e-4``, as which YAML reads it.

    Args:
        field: a field that `setting` made.
        value: what somebody gave.
        key: how the user calls the setting; by default the field's name.

    Raises:
        UserError: the value has another type or is out of bounds; the error's `key` is the setting.
    """
    key = key or field.name
    value = _typed(field, value, key)
    _check_range(field.metadata, value, key)
    return value


def steps_of(length: float, steps: int) -> int:
    """A length in steps, which is given in steps, or below 1 as a share of a training of so many steps."""
    return round(length * steps if length < 1 else length)


def defaults(settings: type) -> dict[str, Any]:
    """Name → default of all fields of a settings dataclass."""
    return {field.name: field.default for field in dataclasses.fields(settings)}


def class_shares(text: str, key: str, *, word: str, zero: bool = False) -> list[float] | None:
    """The numbers of a setting that has one for each class, such as ``0.5,0.3,0.2``; None if it is `word`.

    Args:
        text: what somebody gave.
        key: how the user calls the setting.
        word: a word that is allowed instead of numbers.
        zero: whether some of the numbers, but not all, may be 0.

    Raises:
        UserError: these are no such numbers.
    """
    if text == word:
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all((0 <= n if zero else 0 < n) and n < math.inf for n in numbers) or not any(numbers):
        bound = "numbers from 0, not all 0," if zero else "numbers above 0"
        raise UserError(
            f"{key} must be '{word}' or {bound} with commas between, such as 0.5,0.3,0.2, not '{text}'", key=key
        )
    return numbers


def _typed(field: dataclasses.Field[Any], value: Any, key: str) -> Any:
    if value is None and field.default is None:
        return None
    wanted = plain_type(field)
    assert wanted is not None, f"{key}: no setting has this type"
    if wanted is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    elif isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{key} must be {_WORDS[wanted]}, not {value!r}", key=key)


_WORDS: dict[type, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


def is_setting(field: dataclasses.Field[Any]) -> bool:
    """Whether a field was made by `setting`."""
    return "changes_result" in field.metadata


def plain_type(field: dataclasses.Field[Any]) -> type | None:
    """``float`` for the annotations ``float`` and ``float | None``, and so on; None if no setting can have the type."""
    name = field.type.__name__ if isinstance(field.type, type) else str(field.type).partition("|")[0].strip()
    return {"float": float, "int": int, "bool": bool, "str": str}.get(name)


def _check_range(limits: Mapping[str, Any], value: Any, key: str) -> None:
    if value is None:
        return
    plugin = limits["or_plugin"] and is_plugin(value) or limits["or_prefix"] and value.startswith(limits["or_prefix"])
    if limits["choices"] and not plugin and value not in limits["choices"]:
        raise UserError(f"unknown {key} '{value}'{nearest(value, limits['choices'])}", key=key)
    if limits["at_least"] is not None and value < limits["at_least"]:
        raise UserError(f"{key} must be at least {limits['at_least']}, not {value}", key=key)
    if limits["above"] is not None and value <= limits["above"]:
        raise UserError(f"{key} must be above {limits['above']}, not {value}", key=key)
    if limits["at_most"] is not None and value > limits["at_most"]:
        raise UserError(f"{key} must be at most {limits['at_most']}, not {value}", key=key)
    if isinstance(value, float) and abs(value) > LARGEST_FLOAT:
        raise UserError(f"{key} must be at most {LARGEST_FLOAT:g} in size, not {value:g}", key=key)
