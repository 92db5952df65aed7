"""What tables, figures and the report call settings and their values, and in which order these stand."""

from collections.abc import Sequence

from cissl.analysis.methods import rank
from cissl.analysis.values import Key, Value

DATASETS = {
    "digits": "Digits",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "stl10": "STL-10",
    "svhn": "SVHN",
    "miniimagenet": "mini-ImageNet",
}
SYMBOLS = {
    "cai_beta": "β",
    "cap_ema_momentum": "m",
    "confidence": "τ",
    "uratio": "μ",
    "wu": "λ",
    "upper": "u",
    "imbalance_ratio": "γ",
}
NAMES_SHOWN = 3


def sort_key(key: Key) -> tuple:
    """Methods and data sets in the order of the paper, numbers by size, the rest by name."""
    parts = []
    for name, value in key:
        if name == "algorithm":
            parts.append((0, *rank(value)))
        elif name == "name" and value in DATASETS:
            parts.append((0, list(DATASETS).index(value), ""))
        elif isinstance(value, (int, float)):
            parts.append((0, value, ""))
        else:
            parts.append((1, 0, "" if value is None else str(value)))
    return tuple(parts)


def format_value(value: Value) -> str:
    """A setting's value, as short as it can be written."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "none" if value is None else str(value)


def dataset_name(name: str) -> str:
    """The name of a data set in tables."""
    return DATASETS.get(name, name)


def first_names(names: Sequence[str]) -> str:
    """The first names of a list that may be long and stands below every table."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def number(count: int, thing: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
