"""What tables, figures and the report call settings and their values, and how they sort them."""

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
SortKey = tuple[tuple[int, float, str], ...]


def sort_key(key: Key) -> SortKey:
    """A key for `sorted`: methods and data sets in the order of the paper, numbers by size, the rest by name."""
    return tuple(_sort_part(name, value) for name, value in key)


def _sort_part(name: str, value: Value) -> tuple[int, float, str]:
    if name == "algorithm" and isinstance(value, str):
        return 0, *rank(value)
    if name == "name" and isinstance(value, str) and value in DATASETS:
        return 0, list(DATASETS).index(value), ""
    if isinstance(value, (int, float)):
        return 0, value, ""
    return 1, 0, value or ""


def format_value(value: Value) -> str:
    """A setting's value, as short as it can be written without loss."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "none" if value is None else str(value)


def dataset_name(name: str) -> str:
    """What tables call a data set; a data set of the user's own keeps its name."""
    return DATASETS.get(name, name)


def first_names(names: Sequence[str]) -> str:
    """The first three names of a list, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
