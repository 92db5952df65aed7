"""Checks that records are what they should be.

A damaged file is found and named here, and only here: the rest of the analysis relies on what was checked.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any

from cissl.analysis.history import History

Kind = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words and as a test."""


def _is_number(value: Any) -> bool:
    return _is_finite(value) and value >= 0


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold; Python's whole numbers have no limit."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _all(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


TEXT: Kind = ("text", lambda value: isinstance(value, str))
WHOLE: Kind = ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
COUNT: Kind = ("a whole number from 0", _is_count)
NUMBER: Kind = ("a number from 0", _is_number)
COUNTS: Kind = ("a list of whole numbers from 0", _all(_is_count))
TEXTS: Kind = ("a list of texts", _all(lambda value: isinstance(value, str)))
MAPPING: Kind = ("a mapping", lambda value: isinstance(value, dict))

# Of config.json: what it must hold, what it may hold, and what its settings must hold.
RECORD = {"trial_id": TEXT, "name": TEXT, "config": MAPPING}
OPTIONAL = {"sweep": TEXT, "title": TEXT}
SETTINGS = {"dataset": TEXT, "algorithm": TEXT, "seed": WHOLE}
STATUS = {"step": COUNT, "steps": COUNT, "seconds": NUMBER, "error": TEXT, "updated": TEXT}
PROVENANCE = {
    "split_hash": TEXT,
    "class_names": TEXTS,
    "classes": COUNT,
    "labeled_counts": COUNTS,
    "unlabeled_counts": COUNTS,
    "unlabeled_size": COUNT,
    "unlabeled_labeled": COUNT,
    "valid_size": COUNT,
    "valid_labeled": COUNT,
    "test_size": COUNT,
    "versions": MAPPING,
    "commit": TEXT,
    "hardware": TEXT,
    "workers": COUNT,
    "started": TEXT,
}


def check(record: Mapping[str, Any], kinds: Mapping[str, Kind], file: str, *, required: bool = False) -> None:
    """Check that a record's values are of these kinds.

    Args:
        record: the mapping that a file holds.
        kinds: key → what its value must be; other keys are not checked.
        file: the name of the file, for the message.
        required: whether every key must have a value; if not, a key may be missing or null.

    Raises:
        ValueError: a value is missing or of another kind. The message names file, key and value.
    """
    for key, (words, holds) in kinds.items():
        if required and key not in record:
            raise ValueError(f"{file}: no '{key}'")
        value = record.get(key)
        if (required or value is not None) and not holds(value):
            raise ValueError(f"{file}: '{key}' is not {words}: {_short(value)}")


def check_settings(config: Mapping[str, Any], fields: Mapping[str, Field[Any]]) -> None:
    """Check the types of the settings that this program knows. Other versions may have allowed other ranges.

    Raises:
        ValueError: a setting is of another type.
    """
    for key, value in config.items():
        default = fields[key].default if key in fields else None
        if value is not None and default is not None and not _like(default, value):
            raise ValueError(f"config.json: '{key}' is not of the type of {default!r}: {_short(value)}")


def _like(default: Any, value: Any) -> bool:
    if isinstance(default, str | bool):
        return isinstance(value, type(default))
    return _is_finite(value)


def check_classes(provenance: Mapping[str, Any], history: History) -> None:
    """Check that what has one value per class has as many values as there are classes (C).

    Args:
        provenance: with C as ``classes``. Records of the first version may lack it: then nothing is checked.
        history: columns, (evaluations,) or (evaluations, C); a column (evaluations, 0) was not recorded.

    Raises:
        ValueError: a list or a column has another number of values.
    """
    classes = provenance.get("classes")
    if classes is None:
        return
    widths = {
        key: len(provenance[key])
        for key in ("class_names", "labeled_counts", "unlabeled_counts")
        if provenance.get(key)
    }
    for key, width in widths.items():
        if width != classes:
            raise ValueError(f"provenance.json: '{key}' has {width} values for {classes} classes")
    for key, values in history.items():
        if values.ndim > 1 and values.shape[1] not in (0, classes):
            raise ValueError(f"history.jsonl: '{key}' has {values.shape[1]} values for {classes} classes")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
