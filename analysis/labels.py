"""What rows, columns and captions say: the paper's words in place of settings' names."""

from collections import defaultdict
from collections.abc import Sequence

from analysis.grid import SETTING, SYMBOLS, Grid, Key, dataset_name, method, show
from analysis.selection import METRICS

BOLD = "Best complete mean of each data setting in bold."
WORDS = {"name": "data set", "valid": "validation size", "steps": "steps"}


def row_label(key: Key) -> str:
    """``+ CADR, β = 0.25``"""
    return ", ".join(_part(name, value) for name, value in key) or "all trials"


def column_headings(columns: Sequence[Key]) -> list[tuple[str, str]]:
    """(data set, setting) per column: ``("CIFAR-10", "γ = 20")``; only what tells columns apart."""
    shown = _informative(columns)
    headings = []
    for key in columns:
        values = dict(key)
        group = dataset_name(values["name"]) if "name" in values else ""
        balanced = values.get("imbalance_ratio") is None
        parts = []
        for name, value in key:
            if name == "name" or (
                name in ("imbalance_ratio", "valid", "size") and (values.get("name"), name) not in shown
            ):
                continue
            if name == "imbalance_ratio" and balanced:
                continue
            parts.append(_size(value, balanced) if name == "size" else _part(name, value))
        headings.append((group, ", ".join(parts)))
    return headings


def headings_in_words(columns: Sequence[Key]) -> list[str]:
    """``CIFAR-10 γ = 20``"""
    return [" ".join(part for part in pair if part) or "all trials" for pair in column_headings(columns)]


def _informative(columns: Sequence[Key]) -> set[tuple[object, str]]:
    """(data set, part) pairs worth a word: the ratio always, a size where the ratio does not fix it."""
    shown = set()
    sizes: dict[tuple, set] = defaultdict(set)
    valids: dict[tuple, set] = defaultdict(set)
    for key in columns:
        values = dict(key)
        name, ratio, size = (values.get(part) for part in SETTING[:3])
        shown.add((name, "imbalance_ratio"))
        sizes[name, ratio].add(size)
        valids[name, ratio, size].add(values.get("valid"))
    shown |= {(name, "size") for (name, ratio), found in sizes.items() if ratio is None or len(found) > 1}
    shown |= {(name, "valid") for (name, _, _), found in valids.items() if len(found) > 1}
    return shown


def size_notes(columns: Sequence[Key]) -> list[str]:
    """The labeled sizes that the headings leave unsaid."""
    shown = _informative(columns)
    sizes: dict[str, dict[float, int]] = defaultdict(dict)
    for key in columns:
        values = dict(key)
        if values.get("imbalance_ratio") and values.get("size") and (values.get("name"), "size") not in shown:
            sizes[dataset_name(values.get("name") or "")][values["imbalance_ratio"]] = values["size"]
    return [f"{name}: {_sizes_in_words(by_ratio)}." for name, by_ratio in sizes.items()]


def _sizes_in_words(by_ratio: dict[float, int]) -> str:
    if len(set(by_ratio.values())) == 1:
        return f"the largest class has {next(iter(by_ratio.values()))} labels"
    if all(ratio == size for ratio, size in by_ratio.items()):
        return "the largest class has γ labels"
    return "labels of the largest class: " + ", ".join(f"{size} at γ = {ratio:g}" for ratio, size in by_ratio.items())


def caption(grid: Grid, n: int | None) -> str:
    """Metric, n, the selection rule and what ± means."""
    metric = METRICS[grid.metric]
    count = f"n = {n} unless a cell says otherwise" if n else "n in each cell"
    return (
        f"{metric[0].upper()}{metric[1:]} (%): mean ± sample standard deviation over seeds ({count}). "
        f"Each trial counts with the {grid.selection.caption}."
    )


def _part(name: str, value) -> str:
    if name == "algorithm":
        return method(str(value))
    if name == "name":
        return dataset_name(str(value))
    if name == "imbalance_ratio" and value is None:
        return "balanced"
    return f"{SYMBOLS.get(name, WORDS.get(name, name))} = {show(value)}"


def _size(value, balanced: bool) -> str:
    return f"{value} labels" if balanced else f"N₁ = {value}"
