"""Published figures beside ours, with the differences in selection rule and budget that make them hard to compare.

``published.csv`` has one line for each figure:

- the metric (percent);
- the method as the source calls it, and our algorithm, which is empty where we have none that is the same;
- the split in the words of `split_parts`: ``setting`` has one or several spellings of labels and size, ``unlabeled`` is
  empty for all images;
- the value, its standard deviation, and the source.

``published_sources.csv`` has one line for each source:

- where the figures stand;
- the rule by which they were selected, a key of `selection.SELECTIONS`, which is empty where it is not stated;
- the budget: optimizer steps, labeled images in each, unlabeled images for each labeled one, empty where not stated;
- the number of runs.
"""

import csv
import math
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cissl.analysis.cells import Cell, Grid
from cissl.analysis.formats import Entry, Line
from cissl.analysis.results import Trial
from cissl.analysis.values import Key, Values

FIGURES = Path(__file__).with_name("published.csv")
SOURCES = Path(__file__).with_name("published_sources.csv")
RULES = {
    "last10": "mean of the last 10 evaluations",
    "last20": "mean of the last 20 evaluations",
    "validation-best": "test figure of the evaluation that is best on validation images",
    "test-oracle": "best test figure of the run",
    "": "selection rule not stated",
}


class Budget(NamedTuple):
    """How long training was; None where the source does not tell.

    Attributes:
        steps: optimizer updates.
        batch: labeled images in each.
        uratio: unlabeled images for each labeled one (μ).
    """

    steps: int | None
    batch: int | None
    uratio: int | None

    def __str__(self) -> str:
        """``131 072 steps of 64 labeled and 448 unlabeled images``"""
        if self.steps is None or self.batch is None:
            return "budget not stated"
        unlabeled = "" if self.uratio is None else f" and {self.batch * self.uratio} unlabeled"
        return f"{self.steps:,} steps of {self.batch} labeled{unlabeled} images".replace(",", " ")


def beside(grid: Grid) -> tuple[list[Line], list[str]]:
    """Published figures for the columns of a grid.

    Returns:
        Lines whose entries (percent) also hold the difference "ours minus theirs", and notes on the sources.
    """
    lines: dict[tuple[str, str, str], list[Entry]] = {}
    ours: dict[str, list[Cell]] = {}  # by source, what its figures stand beside
    for k, column in enumerate(grid.columns):
        for figure in _read(FIGURES):
            if figure["metric"] != grid.metric or not _names_column(figure, dict(column)):
                continue
            entries = lines.setdefault(
                (figure["method"], figure["algorithm"], figure["source"]), [Entry()] * len(grid.columns)
            )
            value, cell = float(figure["value"]), _our_cell(grid, figure["algorithm"], column)
            difference = cell.mean - value if cell else np.nan
            entries[k] = Entry(value, float(figure["std"] or np.nan), difference=difference)
            ours.setdefault(figure["source"], []).extend([cell] if cell else [])
    if not lines:
        return [], ["No published figures of this metric are on file for these columns."]
    sources = {source["source"]: source for source in _read(SOURCES)}
    numbers = {name: k for k, name in enumerate(ours, start=1)}
    made = [
        Line(f"{method} [{numbers[name]}]", entries, _identity(grid, algorithm or method, sources[name]))
        for (method, algorithm, name), entries in lines.items()
    ]
    notes = [f"[{k}] {_note(sources[name], grid, ours[name])}" for name, k in numbers.items()]
    return made, ["Published figures: in brackets, ours minus theirs.", *notes]


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _identity(grid: Grid, algorithm: str, source: dict[str, str]) -> dict[str, str]:
    selection = source["selection"] or "not stated"
    return {"metric": grid.metric, "selection": selection, "source": source["source"], "algorithm": algorithm}


def _names_column(figure: dict[str, str], column: Values) -> bool:
    """Whether a published setting, such as ``LT_20@20`` or one of several spellings, is that of this column."""
    if "size" not in column or figure["dataset"] != column.get("name"):
        return False
    ratio = column.get("imbalance_ratio")
    shape = column.get("labels") or ("" if ratio is None else f"LT_{ratio:g}")
    same_unlabeled = (column.get("unlabeled") or "") == figure["unlabeled"]
    return same_unlabeled and f"{shape}@{column['size']}" in figure["setting"].split(" ")


def _our_cell(grid: Grid, algorithm: str, column: Key) -> Cell | None:
    """Our figures for this method in this column; None unless exactly one row has any."""
    filled = [row for row in grid.rows if (row, column) in grid.cells]
    rows = [row for row in filled if dict(row).get("algorithm") == algorithm]
    return grid.cells[rows[0], column] if len(rows) == 1 and grid.cells[rows[0], column].n else None


def _note(source: dict[str, str], grid: Grid, beside: Collection[Cell]) -> str:
    """Where the figures are from, how they were made, and how ours differ."""
    where = ", ".join(source[part] for part in ("title", "venue", "place") if source[part])
    theirs = Budget(*(int(source[part]) if source[part] else None for part in Budget._fields))
    runs = f"{source['runs']} run{'s' if source['runs'] != '1' else ''}" if source["runs"] else ""
    how = "; ".join(filter(None, [RULES[source["selection"]], str(theirs), runs, source["remark"]]))
    return f"{source['source']}, {where}. {how[0].upper()}{how[1:]}.{_differences(source, theirs, grid, beside)}"


def _differences(source: dict[str, str], theirs: Budget, grid: Grid, beside: Collection[Cell]) -> str:
    if not beside:
        return ""
    budgets = sorted({_budget(trial) for cell in beside for trial in cell.counted})
    unlike = []
    if grid.selection.name != source["selection"]:
        unlike.append(f"the {RULES[grid.selection.name]}")
    if budgets != [theirs]:
        unlike.append(f"of {' or '.join(map(str, budgets))}")
    return f" Not comparable: ours are {', '.join(unlike)}." if unlike else " Ours have the same rule and budget."


def _budget(trial: Trial) -> Budget:
    config = trial.config
    return Budget(math.ceil(config["train_kimg"] * 1024 / config["batch"]), config["batch"], config["uratio"])
