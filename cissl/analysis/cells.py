"""Arranging trials into cells, so that a cell averages over seeds and over nothing else.

Two trials share a cell only where all settings, the data set, the split protocol and the number of steps are
equal. A setting that varies within one method on one data set, and that neither rows nor columns name,
becomes part of the row's label.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cissl.analysis import notes
from cissl.analysis.counting import figure_of, reason
from cissl.analysis.results import Records, Trial
from cissl.analysis.selection import Selection
from cissl.analysis.values import Key, Values
from cissl.analysis.words import first_names, sort_key
from cissl.errors import UserError

SETTING = ("name", "imbalance_ratio", "labels", "unlabeled", "size", "valid")
ROWS = ("algorithm",)
REPLICATES = ("split_seed", "seed")
ALIASES = {"method": "algorithm", "γ": "imbalance_ratio", "data": "name"}
Position = tuple[Key, Key]  # row and column


@dataclass
class Cell:
    """The trials of one row and column. ``figures`` belong to ``counted``, the complete ones."""

    counted: list[Trial] = field(default_factory=list)
    figures: list[float] = field(default_factory=list)
    left_out: list[tuple[Trial, str]] = field(default_factory=list)  # with the reason
    waiting: list[str] = field(default_factory=list)  # names of planned trials that have not started

    @property
    def n(self) -> int:
        return len(self.figures)

    @property
    def total(self) -> int:
        """Trials that exist, whatever their state, or are planned."""
        return len(self.counted) + len(self.left_out) + len(self.waiting)

    @property
    def incomplete(self) -> bool:
        return bool(self.left_out or self.waiting)

    @property
    def mean(self) -> float:
        return float(np.mean(self.figures)) if self.figures else np.nan

    @property
    def std(self) -> float:
        """Sample standard deviation (n - 1); NaN for fewer than two trials."""
        return float(np.std(self.figures, ddof=1)) if self.n > 1 else np.nan


@dataclass
class Grid:
    """Cells by (row, column), and what a reader must know about them."""

    metric: str
    selection: Selection
    rows: list[Key]
    columns: list[Key]
    cells: dict[Position, Cell]
    notes: list[str]

    def rivals(self) -> list[list[Position]]:
        """Per data setting that has several cells with a figure, these cells, the highest mean first."""
        groups: dict[tuple, list[Position]] = defaultdict(list)
        for (row, column), cell in self.cells.items():
            if cell.n:
                values = dict(row) | dict(column)
                groups[tuple(values.get(key) for key in SETTING)].append((row, column))
        return [sorted(g, key=lambda place: -self.cells[place].mean) for g in groups.values() if len(g) > 1]

    def best(self) -> set[Position]:
        """Per data setting, the cell whose mean is highest at the printed precision, if that cell is complete.

        Where it is not, no other takes its place: a mean without its failed seeds may flatter, and a trial that fails
        must not crown another method.
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
        rows, columns: names of settings, ``algorithm``, or parts of the data set's name (``name``,
            ``imbalance_ratio``, ``labels``, ``unlabeled``, ``size``, ``valid``); ``dataset`` stands for all of them.

    Raises:
        UserError: rows or columns name something that no trial has.
    """
    searched, trials = _apart(records)
    trials, told = _without_duplicates(trials)
    described = {id(trial): attributes(trial) for trial in trials}
    _settle_steps(trials, described)
    told += mark_split_variants(trials, described)
    row_keys, column_keys = _axes(rows, columns, described.values())
    free = _varying(described.values(), {*row_keys, *column_keys, *REPLICATES})
    cells: dict[Position, Cell] = defaultdict(Cell)
    for trial in trials:
        values = described[id(trial)]
        row = _key(values, (*row_keys, *free[values["algorithm"]]))
        _add(cells[row, _key(values, column_keys)], trial, metric, selection)
    homeless = _place_waiting(records.waiting, cells)
    in_labels = {*row_keys, *column_keys, *REPLICATES, *SETTING, "algorithm", "split"}.union(*free.values())
    return Grid(
        metric,
        selection,
        sorted({row for row, _ in cells}, key=sort_key),
        sorted({column for _, column in cells}, key=sort_key),
        dict(cells),
        [
            *notes.on_searches(searched),
            *told,
            *notes.on_waiting(homeless),
            *notes.on_settings(described.values(), in_labels),
            *notes.on_windows(trials, selection),
            *notes.on_validation(trials, selection),
            *notes.on_programs(trials),
        ],
    )


def _apart(records: Records) -> tuple[list[Trial], list[Trial]]:
    """Trials of searches, and the others, of which there must be one."""
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
    """The settings of rows and of columns. Without method or data setting a cell would mix what must not be mixed."""
    row_keys, column_keys = _expand(rows, described), _expand(columns, described)
    for key in ("algorithm", *SETTING):
        if key not in row_keys + column_keys and len({values.get(key) for values in described}) > 1:
            row_keys += (key,)
    return row_keys, column_keys


def _key(values: Values, names: Iterable[str]) -> Key:
    return tuple((name, values.get(name)) for name in names)


def attributes(trial: Trial) -> dict:
    """All that may distinguish a trial: settings, the parts of the data set's name, and the planned steps."""
    named = {key: _hashable(value) for key, value in trial.settings.items() if key != "dataset"}
    return named | trial.spec | {"steps": trial.status.get("steps")}


def _hashable(value):
    return value if isinstance(value, str | int | float | None) else repr(value)


def _without_duplicates(trials: Iterable[Trial]) -> tuple[list[Trial], list[str]]:
    """One trial per config: the furthest of several records, named beside the ones that were left aside."""
    groups: dict[tuple, list[Trial]] = defaultdict(list)
    for trial in trials:
        config = tuple(sorted((key, repr(value)) for key, value in trial.settings.items()))
        groups[config, trial.provenance.get("split_hash")].append(trial)
    kept, notes = [], []
    for group in groups.values():
        group.sort(key=lambda t: (not t.complete, -t.rows, t.provenance.get("started", ""), t.folder))
        kept.append(group[0])
        if len(group) > 1:
            others = ", ".join(t.folder for t in group[1:])
            notes.append(f"{group[0].name} is recorded {len(group)} times; used {group[0].folder}, not {others}.")
    return kept, notes


def _settle_steps(trials: list[Trial], described: dict[int, dict]) -> None:
    """Give trials without a readable status the steps of their equals, so that they stay in their cell."""
    known = {_config_key(described[id(t)]): described[id(t)]["steps"] for t in trials if t.status.get("steps")}
    for trial in trials:
        values = described[id(trial)]
        if values["steps"] is None:
            values["steps"] = known.get(_config_key(values))


def _config_key(values: dict) -> tuple:
    return tuple(sorted((k, repr(v)) for k, v in values.items() if k not in ("steps", *REPLICATES)))


def mark_split_variants(trials: list[Trial], described: dict[int, dict]) -> list[str]:
    """Trials whose split differs from the others' of the same name must not be averaged with them.

    The commonest split of a name is the norm; trials on another one get a setting ``split`` of their own.
    """
    splits: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for trial in trials:
        if split := trial.provenance.get("split_hash"):
            splits[trial.config["dataset"]][split] += 1
    notes = []
    for dataset, counts in sorted(splits.items()):
        if len(counts) > 1:
            notes.append(
                f"{dataset} was split in {len(counts)} different ways ({', '.join(sorted(counts))}); "
                "trials on different splits are kept in rows of their own."
            )
    for trial in trials:
        counts = splits[trial.config["dataset"]]
        norm = min(counts, key=lambda split: (-counts[split], split), default=None)
        split = trial.provenance.get("split_hash") or norm
        described[id(trial)]["split"] = None if split == norm else split
    return notes


def _expand(keys: Sequence[str], described: Iterable[dict]) -> tuple[str, ...]:
    """Aliases and ``dataset`` resolved; refuses names that no trial knows."""
    known = set().union(*described) | {"dataset"}
    expanded: list[str] = []
    for key in keys:
        key = ALIASES.get(key, key)
        if key not in known or key in REPLICATES:
            choices = ", ".join(sorted(known - set(REPLICATES)))
            raise UserError(f"rows and columns cannot be '{key}'; these trials have: {choices}")
        expanded += SETTING if key == "dataset" else (key,)
    return tuple(dict.fromkeys(expanded))


def _varying(described: Iterable[dict], named: set[str]) -> dict[str, list[str]]:
    """Per method, the settings that vary within one of its data sets and that neither rows nor columns name.

    A setting that only differs between data sets (a wider network for one of them) tells no rows apart.
    """
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for values in described:
        groups[values["algorithm"], values["name"]].append(values)
    varying: dict[str, dict[str, None]] = defaultdict(dict)  # a dict keeps the settings' order
    for (algorithm, _), members in groups.items():
        for key in dict.fromkeys(k for values in members for k in values):
            if key not in named and len({repr(values.get(key)) for values in members}) > 1:
                varying[algorithm][key] = None
    for keys in varying.values():
        if "train_kimg" in keys or "batch" in keys:
            keys.pop("steps", None)  # these say the same
    return {algorithm: list(varying[algorithm]) for algorithm, _ in groups}


def _add(cell: Cell, trial: Trial, metric: str, selection: Selection) -> None:
    """Count a trial that has a figure, or leave it out with the reason."""
    figure = figure_of(trial, metric, selection)
    if np.isfinite(figure):
        cell.counted.append(trial)
        cell.figures.append(figure)
    else:
        cell.left_out.append((trial, reason(trial, metric, selection)))


def _place_waiting(waiting: list[str], cells: dict[Position, Cell]) -> list[str]:
    """Count planned trials in the cells of their equals, and return the names of those whose cell is not known.

    Only the name of such a trial is on record. It differs from its equals' in the seed alone; where equal names stand
    in several cells, as in a grid over a setting that names leave out, it cannot be told which cell is meant.
    """
    homes: dict[str, set] = defaultdict(set)
    for place, cell in cells.items():
        for trial in [*cell.counted, *(trial for trial, _ in cell.left_out)]:
            homes[_without_seed(trial.name)].add(place)
    homeless = []
    for name in (trial.rpartition("-")[0] for trial in waiting):
        places = homes[_without_seed(name)]
        if len(places) == 1:
            cells[next(iter(places))].waiting.append(name)
        else:
            homeless.append(name)
    return homeless


def _without_seed(name: str) -> str:
    return re.sub(r"-s[\d.]+$", "", name)
