"""Are records what they should be? A damaged file is named here, once, so that all that follows may rely on them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any

import numpy as np

Kind = tuple[str, Callable[[Any], bool]]
"""what a value must be, in words and as a test"""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


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

RECORD = {"trial_id": TEXT, "name": TEXT, "config": MAPPING}  # of config.json
SWEEP = {"sweep": TEXT}
SETTINGS = {"dataset": TEXT, "algorithm": TEXT, "seed": WHOLE}
STATUS = {"step": COUNT, "steps": COUNT, "seconds": NUMBER, "error": TEXT, "updated": TEXT}
PROVENANCE = {
    "split_hash": TEXT,
    "class_names": TEXTS,
    "classes": COUNT,
    "labeled_counts": COUNTS,
    "unlabeled_counts": COUNTS,
    "unlabeled_size": COUNT,
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
    """See that the record's values are of these kinds.

    Args:
        required: each must be there; else a missing one, or null, is fine.

    Raises:
        ValueError: one is not; file, key and value are named.
    """
    for key, (words, holds) in kinds.items():
        if required and key not in record:
            raise ValueError(f"{file}: no '{key}'")
        value = record.get(key)
        if (required or value is not None) and not holds(value):
            raise ValueError(f"{file}: '{key}' is not {words}: {_short(value)}")


def check_settings(config: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """See that the settings that this program knows are of the right type; their ranges may have been others.

    Raises:
        ValueError: one is not.
    """
    for key, value in config.items():
        default = fields[key].default if key in fields else None
        if value is not None and default is not None and not _like(default, value):
            raise ValueError(f"config.json: '{key}' is not of the type of {default!r}: {_short(value)}")


def _like(default: Any, value: Any) -> bool:
    if isinstance(default, str | bool):
        return isinstance(value, type(default))
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_classes(provenance: Mapping[str, Any], history: Mapping[str, np.ndarray]) -> None:
    """See that what has one value per class has as many values as there are classes.

    Raises:
        ValueError: something has not.
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
