"""Arranges trials into cells, so that a cell averages over seeds and over nothing else.

Two trials share a cell only where all settings, the data set, the split protocol and the number of steps are equal. A
setting may vary within one method on one data set although neither rows nor columns name it. It then becomes part of
the row's label.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from cissl.analysis import notes
from cissl.analysis.counting import figure_of, reason
from cissl.analysis.results import Records, Trial
from cissl.analysis.selection import Selection
from cissl.analysis.values import Key, Value, Values
from cissl.analysis.words import first_names, sort_key
from cissl.errors import UserError

SETTING = ("name", "imbalance_ratio", "labels", "unlabeled", "size", "valid")
ROWS = ("algorithm",)
REPLICATES = ("split_seed", "seed")
ALIASES = {"method": "algorithm", "γ": "imbalance_ratio", "data": "name"}
Position = tuple[Key, Key]  # row and column


@dataclass
class Cell:
    """The trials of one row and column.

    Attributes:
        counted: trials that have a figure.
        figures: their figures in percent, in the same order.
        left_out: trials without a figure, each with the reason.
        waiting: names of planned trials that have not started.
    """

    counted: list[Trial] = field(default_factory=list)
    figures: list[float] = field(default_factory=list)
    left_out: list[tuple[Trial, str]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Number of figures."""
        return len(self.figures)

    @property
    def total(self) -> int:
        """Number of trials that exist, whatever their state, or are planned."""
        return len(self.counted) + len(self.left_out) + len(self.waiting)

    @property
    def incomplete(self) -> bool:
        """Whether a trial has no figure."""
        return bool(self.left_out or self.waiting)

    @property
    def mean(self) -> float:
        """Mean of the figures in percent; NaN where there are none."""
        return float(np.mean(self.figures)) if self.figures else np.nan

    @property
    def std(self) -> float:
        """Sample standard deviation (n - 1) in percentage points; NaN for fewer than two figures."""
        return float(np.std(self.figures, ddof=1)) if self.n > 1 else np.nan


@dataclass
class Grid:
    """The cells of one table.

    Attributes:
        metric: a key of `selection.METRICS`.
        selection: the rule that gave the figures.
        rows: in the order of the table.
        columns: in the order of the table.
        cells: by (row, column); not every pair has one.
        notes: sentences that a reader must know.
    """

    metric: str
    selection: Selection
    rows: list[Key]
    columns: list[Key]
    cells: dict[Position, Cell]
    notes: list[str]

    def rivals(self) -> list[list[Position]]:
        """The cells with figures of each data setting that has several such cells, the highest mean first."""
        groups: dict[tuple[Value, ...], list[Position]] = defaultdict(list)
        for (row, column), cell in self.cells.items():
            if cell.n:
                values = dict(row) | dict(column)
                groups[tuple(values.get(key) for key in SETTING)].append((row, column))
        return [sorted(g, key=lambda place: -self.cells[place].mean) for g in groups.values() if len(g) > 1]

    def best(self) -> set[Position]:
        """The cell of each data setting whose mean is highest at the printed precision, if that cell is complete.

        Where it is not complete, no other cell takes its place. A mean without its failed seeds may be too high, and a
        failed trial must not make another method the best.
        """
        return {
            place
            for group in self.rivals()
            for place in group
            if round(self.cells[place].mean, 2) == round(self.cells[group[0]].mean, 2)
            and not self.cells[place].incomplete
        }


def build(
    records: Records,
    metric: str,
    selection: Selection,
    rows: Sequence[str] = ROWS,
    columns: Sequence[str] = SETTING,
) -> Grid:
    """Arrange the trials.

    Args:
        metric: a key of `selection.METRICS`.
        selection: the rule that turns a trial into a figure.
        rows, columns: names of settings, ``algorithm``, or parts of the split's name (``name``,
            ``imbalance_ratio``, ``labels``, ``unlabeled``, ``size``, ``valid``); ``dataset`` stands for all of them.

    Raises:
        UserError: no trial belongs to a grid, rows or columns name something that no trial has, or the selection would
            choose by images that were trained on.
    """
    searched, trials = _apart(records)
    trials, told = _without_duplicates(trials)
    described = {id(trial): attributes(trial) for trial in trials}
    _settle_steps(trials, described)
    told += mark_split_variants(trials, described)
    labels = _Labels.choose(rows, columns, described.values())
    cells = _cells(trials, [labels.position(described[id(trial)]) for trial in trials], metric, selection)
    told += notes.on_waiting(_place_waiting(records.waiting, cells))
    told += notes.on_settings(described.values(), labels.names()) + notes.on_windows(trials, selection)
    told += notes.on_validation(trials, selection) + notes.on_programs(trials)
    return Grid(
        metric,
        selection,
        rows=sorted({row for row, _ in cells}, key=sort_key),
        columns=sorted({column for _, column in cells}, key=sort_key),
        cells=cells,
        notes=notes.on_searches(searched) + told,
    )


@dataclass(frozen=True)
class _Labels:
    """Which settings the labels of a grid show.

    Attributes:
        rows: names of settings in every row.
        columns: names of settings in every column.
        varying: by method, names of further settings in its rows.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    varying: dict[str, list[str]]

    @classmethod
    def choose(cls, rows: Sequence[str], columns: Sequence[str], described: Collection[Values]) -> "_Labels":
        """What the user wants, and what must be shown too so that no cell mixes different settings."""
        row_names, column_names = _axes(rows, columns, described)
        varying = _varying(described, {*row_names, *column_names, *REPLICATES})
        return cls(row_names, column_names, varying)

    def position(self, values: Values) -> Position:
        """The row and the column of a trial with these values."""
        further = self.varying[str(values["algorithm"])]
        return _key(values, (*self.rows, *further)), _key(values, self.columns)

    def names(self) -> set[str]:
        """All settings that a label shows, or that never need one."""
        return {*self.rows, *self.columns, *REPLICATES, *SETTING, "algorithm", "split"}.union(*self.varying.values())


def _apart(records: Records) -> tuple[list[Trial], list[Trial]]:
    """Trials of searches, and the others.

    Raises:
        UserError: there are no others.
    """
    searched = [trial for trial in records.trials if trial.searched]
    trials = [trial for trial in records.trials if not trial.searched]
    if not trials:
        raise UserError(
            f"all {len(searched)} trials belong to a hyper-parameter search; see python analysis/tables.py --search"
            if searched
            else f"no trial's settings could be read: {first_names(list(map(str, records.problems)))}"
        )
    return searched, trials


def _axes(
    rows: Sequence[str], columns: Sequence[str], described: Collection[Values]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings of rows and of columns; the method and the parts of the data setting are always among them."""
    row_keys, column_keys = _expand(rows, described), _expand(columns, described)
    for key in ("algorithm", *SETTING):
        if key not in row_keys + column_keys and len({values.get(key) for values in described}) > 1:
            row_keys += (key,)
    return row_keys, column_keys


def _key(values: Values, names: Iterable[str]) -> Key:
    return tuple((name, values.get(name)) for name in names)


def setting_of(trial: Trial) -> Key:
    """The data setting of a trial: the parts of its split's name, without the seed."""
    return _key(cast(Values, trial.spec), SETTING)


def attributes(trial: Trial) -> Values:
    """All that may distinguish a trial: settings, the parts of the split's name, and the planned steps."""
    named = {key: _hashable(value) for key, value in trial.settings.items() if key != "dataset"}
    return named | cast(Values, trial.spec) | {"steps": trial.status.get("steps")}


def _hashable(value: object) -> Value:
    return value if isinstance(value, str | int | float | None) else repr(value)


def _without_duplicates(trials: Iterable[Trial]) -> tuple[list[Trial], list[str]]:
    """One trial for each config: of several records the one with most evaluations. Notes name the others."""
    groups: dict[tuple[object, ...], list[Trial]] = defaultdict(list)
    for trial in trials:
        config = tuple(sorted((key, repr(value)) for key, value in trial.settings.items()))
        groups[config, trial.provenance.get("split_hash")].append(trial)
    kept, told = [], []
    for group in groups.values():
        group.sort(key=lambda t: (not t.complete, -t.rows, t.provenance.get("started", ""), t.folder))
        kept.append(group[0])
        if len(group) > 1:
            others = ", ".join(t.folder for t in group[1:])
            told.append(f"{group[0].name} is recorded {len(group)} times; used {group[0].folder}, not {others}.")
    return kept, told


def _settle_steps(trials: list[Trial], described: dict[int, Values]) -> None:
    """Give a trial without a readable status the steps of trials with its settings, so that it stays in their cell."""
    known = {_config_key(described[id(t)]): described[id(t)]["steps"] for t in trials if t.status.get("steps")}
    for trial in trials:
        values = described[id(trial)]
        if values["steps"] is None:
            values["steps"] = known.get(_config_key(values))


def _config_key(values: Values) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, repr(v)) for k, v in values.items() if k not in ("steps", *REPLICATES)))


def mark_split_variants(trials: list[Trial], described: dict[int, Values]) -> list[str]:
    """Mark trials whose split is not that of most trials with the same name; these must not be averaged together.

    Args:
        described: by ``id`` of the trial its values, which get a value ``split``: None for the usual split, else the
            hash of the split.

    Returns:
        Notes on the names that stand for several splits.
    """
    splits: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for trial in trials:
        if split := trial.provenance.get("split_hash"):
            splits[trial.config["dataset"]][split] += 1
    told = []
    for dataset, counts in sorted(splits.items()):
        if len(counts) > 1:
            told.append(
                f"{dataset} was split in {len(counts)} different ways ({', '.join(sorted(counts))}); "
                "trials on different splits are kept in rows of their own."
            )
    for trial in trials:
        counts = splits[trial.config["dataset"]]
        norm = min(counts, key=lambda split: (-counts[split], split), default=None)
        split = trial.provenance.get("split_hash") or norm
        described[id(trial)]["split"] = None if split == norm else split
    return told


def _expand(keys: Sequence[str], described: Iterable[Values]) -> tuple[str, ...]:
    """Replace aliases and ``dataset`` by what they stand for.

    Raises:
        UserError: no trial has such a setting.
    """
    known = set[str]().union(*described) | {"dataset"}
    expanded: list[str] = []
    for key in keys:
        key = ALIASES.get(key, key)
        if key not in known or key in REPLICATES:
            choices = ", ".join(sorted(known - set(REPLICATES)))
            raise UserError(f"rows and columns cannot be '{key}'; these trials have: {choices}")
        expanded += SETTING if key == "dataset" else (key,)
    return tuple(dict.fromkeys(expanded))


def _varying(described: Iterable[Values], named: set[str]) -> dict[str, list[str]]:
    """By method, the settings that vary within one of its data sets and that neither rows nor columns name.

    A setting that differs only between data sets, such as a wider network for one of them, makes no further rows.
    """
    groups: dict[tuple[str, Value], list[Values]] = defaultdict(list)
    for values in described:
        groups[str(values["algorithm"]), values["name"]].append(values)
    varying: dict[str, dict[str, None]] = defaultdict(dict)  # a dict keeps the settings' order
    for (algorithm, _), members in groups.items():
        for key in dict.fromkeys(k for values in members for k in values):
            if key not in named and len({repr(values.get(key)) for values in members}) > 1:
                varying[algorithm][key] = None
    for keys in varying.values():
        if "train_kimg" in keys or "batch" in keys:
            keys.pop("steps", None)  # steps follow from these
    return {algorithm: list(varying[algorithm]) for algorithm, _ in groups}


def _cells(
    trials: Iterable[Trial], positions: Iterable[Position], metric: str, selection: Selection
) -> dict[Position, Cell]:
    """The cells with their trials. A trial without a figure is left out, with the reason."""
    cells: dict[Position, Cell] = defaultdict(Cell)
    for trial, position in zip(trials, positions, strict=True):
        cell, figure = cells[position], figure_of(trial, metric, selection)
        if np.isfinite(figure):
            cell.counted.append(trial)
            cell.figures.append(figure)
        else:
            cell.left_out.append((trial, reason(trial, metric, selection)))
    return dict(cells)


def _place_waiting(waiting: list[str], cells: dict[Position, Cell]) -> list[str]:
    """Add planned trials to the cells that they will be in; return the names of those whose cell is not known.

    Only the name of such a trial is on record. Trials of one cell have names that differ only in the seed. The cell is
    not known where a grid varies a setting that names leave out, because several cells then have the same names.
    """
    positions: dict[str, set[Position]] = defaultdict(set)
    for position, cell in cells.items():
        for trial in [*cell.counted, *(trial for trial, _ in cell.left_out)]:
            positions[_without_seed(trial.name)].add(position)
    unplaced = []
    for name in (trial.rpartition("-")[0] for trial in waiting):
        candidates = positions[_without_seed(name)]
        if len(candidates) == 1:
            cells[next(iter(candidates))].waiting.append(name)
        else:
            unplaced.append(name)
    return unplaced


def _without_seed(name: str) -> str:
    return re.sub(r"-s[\d.]+$", "", name)
