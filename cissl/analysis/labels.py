"""Labels of rows and columns, and captions: the paper's words in place of settings' names."""

from collections import defaultdict
from collections.abc import Sequence

from cissl.analysis.cells import Grid
from cissl.analysis.methods import label
from cissl.analysis.selection import METRICS
from cissl.analysis.split_parts import SplitPart
from cissl.analysis.values import Key, Value, Values
from cissl.analysis.words import SYMBOLS, dataset_name, format_value
from cissl.datasets.spec import ALL

BOLD = {  # what --bold marks → what the caption says of it
    "best": "Bold: the highest mean of each data setting, unless trials are missing from it; analysis/statistics.py "
    "tests whether the others are worse by more than chance.",
    "indistinguishable": "Bold: of each data setting the highest mean and all that are not shown to be worse (pairs of "
    "equal split and seed, exact sign-flip test, Benjamini-Hochberg over the table, 5 %; fewer than six pairs show "
    "nothing), unless trials are missing from them.",
}
WORDS = {"name": "data set", "valid": "validation size"}
Protocol = tuple[Value, ...]  # the parts of a split's name that a paper calls a protocol, see `_protocol`
Silent = set[tuple[Protocol, str]]  # (protocol, part) pairs that headings leave out


def row_label(key: Key) -> str:
    """The label of a row, such as ``+ CADR, β = 0.25``."""
    return in_words(key) or "all trials"


def in_words(key: Key) -> str:
    """The parts of a key in words, such as ``+ CADR, β = 0.25``; empty where no part needs a word."""
    return ", ".join(_words(key, silent=set()))


def column_headings(columns: Sequence[Key]) -> list[tuple[str, str]]:
    """(data set, setting) of each column, such as ``("CIFAR-10", "γ = 20")``; only what tells columns apart."""
    silent = _silent(columns)
    return [
        (_dataset(dict(key)), ", ".join(_words(key, silent)[1:]))
        if key and key[0][0] == "name"
        else ("", ", ".join(_words(key, silent)))
        for key in columns
    ]


def _dataset(values: Values) -> str:
    return dataset_name(str(values.get("name") or ""))


def headings_in_words(columns: Sequence[Key]) -> list[str]:
    """The heading of each column on one line, such as ``CIFAR-10 γ = 20``."""
    return [" ".join(part for part in pair if part) or "all trials" for pair in column_headings(columns)]


def _silent(columns: Sequence[Key]) -> Silent:
    """What headings leave out: a size that γ decides, and a validation size that is always the same."""
    sizes: dict[Protocol, set[Value]] = defaultdict(set)
    valids: dict[Protocol, set[Value]] = defaultdict(set)
    for key in columns:
        protocol = _protocol(key)
        sizes[protocol].add(dict(key).get("size"))
        valids[protocol].add(dict(key).get("valid"))
    long_tailed = {protocol for protocol in sizes if protocol[1] is not None}
    silent = {(protocol, "size") for protocol in long_tailed if len(sizes[protocol]) == 1}
    return silent | {(protocol, "valid") for protocol, found in valids.items() if len(found) == 1}


def _protocol(key: Key) -> Protocol:
    values = dict(key)
    return tuple(values.get(part) for part in ("name", "imbalance_ratio", "labels", "unlabeled"))


def _words(key: Key, silent: Silent) -> list[str]:
    """One phrase for each part of a key that needs words."""
    protocol = _protocol(key)
    words = [_part(name, value, dict(key)) for name, value in key if (protocol, name) not in silent]
    return [word for word in words if word]


def _part(name: str, value: Value, values: Values) -> str:
    if name == "algorithm" and isinstance(value, str):
        return label(value)
    if name == "name":
        return dataset_name(str(value))
    if name == "imbalance_ratio" and value is None:
        return "" if "size" in values else "not long-tailed"
    if name in ("labels", "unlabeled"):
        return value.words if isinstance(value, SplitPart) else ""
    if name == "size":
        if values.get("imbalance_ratio") is None:
            return f"{value} labels"
        return "largest N₁" if value == ALL else f"N₁ = {value}"
    return f"{SYMBOLS.get(name, WORDS.get(name, name))} = {format_value(value)}"


def size_notes(columns: Sequence[Key]) -> list[str]:
    """The numbers of labels that the headings leave out, one sentence for each data set."""
    silent = _silent(columns)
    sizes: dict[str, dict[float, int | str]] = defaultdict(dict)
    for key in columns:
        values = dict(key)
        ratio, size = values.get("imbalance_ratio"), values.get("size")
        if (
            (_protocol(key), "size") in silent
            and isinstance(ratio, int | float)
            and isinstance(size, int | str)
            and size
        ):
            sizes[_dataset(values)][ratio] = size
    return [f"{name}: {_sizes_in_words(by_ratio)}." for name, by_ratio in sizes.items()]


def _sizes_in_words(by_ratio: dict[float, int | str]) -> str:
    if set(by_ratio.values()) == {ALL}:
        return "as many labels as γ allows"
    if len(set(by_ratio.values())) == 1:
        return f"the largest class has {next(iter(by_ratio.values()))} labels"
    if all(ratio == size for ratio, size in by_ratio.items()):
        return "the largest class has γ labels"
    return "labels of the largest class: " + ", ".join(f"{size} at γ = {ratio:g}" for ratio, size in by_ratio.items())


def caption(grid: Grid, n: int | None, bold: str = "") -> str:
    """The caption of a table: its metric, n, its selection rule, and what ± and bold mean.

    Args:
        n: the usual number of trials in a cell; None where no cell has any.
        bold: the sentence on what is bold, see `BOLD`.
    """
    metric = METRICS[grid.metric]
    count = f"n = {n} unless a cell says otherwise" if n else "n in each cell"
    return (
        f"{metric[0].upper()}{metric[1:]} (%): mean ± sample standard deviation over seeds ({count}). "
        f"Each trial counts with the {grid.selection.caption}."
    ) + (f" {bold}" if bold else "")
