"""Arranging trials into cells, so that a cell averages over seeds and over nothing else.

Two trials share a cell only where all settings, the data set, the split protocol and the number of steps are
equal. A setting that varies within one method on one data set, and that neither rows nor columns name,
becomes part of the row's label.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cissl.analysis.methods import label, rank
from cissl.analysis.results import Records, Trial
from cissl.analysis.selection import Selection
from cissl.datasets.spec import parse_spec
from cissl.errors import UserError

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
SETTING = ("name", "imbalance_ratio", "labels", "unlabeled", "size", "valid")
FEW_VALIDATION_IMAGES = 100
LONGEST_ERROR = 200  # characters below a table; the report has all of them
NAMES_SHOWN = 3
ROWS = ("algorithm",)
REPLICATES = ("split_seed", "seed")
ALIASES = {"method": "algorithm", "γ": "imbalance_ratio", "data": "name"}
Key = tuple[tuple[str, object], ...]  # (setting, value) pairs that identify a row or a column
Place = tuple[Key, Key]  # row and column


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
    cells: dict[tuple[Key, Key], Cell]
    notes: list[str]

    def rivals(self) -> list[list[Place]]:
        """Per data setting that has several cells with a figure, these cells, the highest mean first."""
        groups: dict[tuple, list[Place]] = defaultdict(list)
        for (row, column), cell in self.cells.items():
            if cell.n:
                values = dict(row) | dict(column)
                groups[tuple(values.get(key) for key in SETTING)].append((row, column))
        return [sorted(g, key=lambda place: -self.cells[place].mean) for g in groups.values() if len(g) > 1]

    def best(self) -> set[Place]:
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


def attributes(trial: Trial) -> dict:
    """All that may distinguish a trial: settings, the parts of the data set's name, and the planned steps."""
    named = {key: _hashable(value) for key, value in trial.settings.items() if key != "dataset"}
    return named | trial.spec | {"steps": trial.status.get("steps")}


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
    searched = [trial for trial in records.trials if trial.searched]
    trials = [trial for trial in records.trials if not trial.searched]
    if not trials:
        raise UserError(
            f"all {len(searched)} trials belong to a hyper-parameter search; see python analysis/tables.py --search"
            if searched
            else f"no trial's settings could be read: {some(list(map(str, records.problems)))}"
        )
    trials, notes = _without_duplicates(trials)
    notes = _search_notes(searched) + notes
    described = {id(trial): attributes(trial) for trial in trials}
    _settle_steps(trials, described)
    notes += mark_split_variants(trials, described)
    row_keys, column_keys = _expand(rows, described.values()), _expand(columns, described.values())
    for key in ("algorithm", *SETTING):  # without these a cell would mix methods or data sets
        if key not in row_keys + column_keys and len({d.get(key) for d in described.values()}) > 1:
            row_keys += (key,)
    free = _varying(described.values(), set(row_keys + column_keys + REPLICATES))
    cells: dict[tuple[Key, Key], Cell] = defaultdict(Cell)
    for trial in trials:
        values = described[id(trial)]
        row = tuple((k, values.get(k)) for k in (*row_keys, *free[values["algorithm"]]))
        column = tuple((k, values.get(k)) for k in column_keys)
        _add(cells[row, column], trial, metric, selection)
    notes += _waiting_notes(_place_waiting(records.waiting, cells))
    notes += _setting_notes(trials, described, set(row_keys + column_keys), free)
    notes += _window_notes(trials, selection) + _validation_notes(trials, selection) + _program_notes(trials)
    return Grid(
        metric,
        selection,
        sorted({row for row, _ in cells}, key=order),
        sorted({column for _, column in cells}, key=order),
        dict(cells),
        notes,
    )


def _add(cell: Cell, trial: Trial, metric: str, selection: Selection) -> None:
    """Count a trial that has a figure, or leave it out with the reason."""
    figure = figure_of(trial, metric, selection)
    if np.isfinite(figure):
        cell.counted.append(trial)
        cell.figures.append(figure)
    else:
        cell.left_out.append((trial, _reason(trial, metric, selection)))


def figure_of(trial: Trial, metric: str, selection: Selection) -> float:
    """What the trial counts with, in percent; NaN where it has nothing to count with."""
    if not trial.complete or _overlaps(trial, selection):
        return np.nan
    return selection.figure(trial.history, metric)


def _overlaps(trial: Trial, selection: Selection) -> bool:
    """Whether the selection would choose by validation images that the trial was trained on."""
    return selection.validates and trial.provenance.get("valid_labeled", 0) > 0


def _reason(trial: Trial, metric: str, selection: Selection) -> str:
    status = trial.status
    if trial.complete and _overlaps(trial, selection):
        labeled, size = trial.provenance["valid_labeled"], trial.provenance.get("valid_size", trial.spec["valid"])
        return f"{labeled} of its {size} validation images are labeled ones"
    if trial.complete:
        return f"has no {metric} on record"
    at = f" at step {status.get('step', '?')}/{status['steps']}" if status.get("steps") else ""
    error = (status.get("error") or "").strip().rpartition("\n")[2]
    shown = error if len(error) <= LONGEST_ERROR else f"{error[:LONGEST_ERROR]}…"
    return f"{trial.state}{at}" + (f" ({shown})" if shown else "")


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


def _place_waiting(waiting: list[str], cells: dict[tuple[Key, Key], Cell]) -> list[str]:
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


def _waiting_notes(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} planned trials have not started: {some(names)}."]


def some(names: Sequence[str]) -> str:
    """The first names of a list that may be long and stands below every table."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _search_notes(searched: list[Trial]) -> list[str]:
    if not searched:
        return []
    sweeps = ", ".join(sorted({str(trial.sweep) for trial in searched}))
    return [
        f"{len(searched)} trials of a hyper-parameter search ({sweeps}) are left out here; see "
        "analysis/tables.py --search."
    ]


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


def _setting_notes(
    trials: list[Trial], described: dict[int, dict], named: set[str], free: dict[str, list[str]]
) -> list[str]:
    """Settings that differ between rows or between data sets without being part of a label."""
    labelled = named | {key for keys in free.values() for key in keys} | {*REPLICATES, "algorithm", *SETTING, "split"}
    uses: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for trial in trials:
        values = described[id(trial)]
        for key in values.keys() - labelled:
            uses[key][show(values[key])].add(f"{label(values['algorithm'])} on {dataset_name(values['name'])}")
    notes = []
    for key, by_value in sorted(uses.items()):
        if len(by_value) > 1:
            parts = [f"{value} ({', '.join(sorted(places))})" for value, places in sorted(by_value.items())]
            notes.append(f"{key} is not the same everywhere: {'; '.join(parts)}.")
    return notes


def _window_notes(trials: list[Trial], selection: Selection) -> list[str]:
    short = [t for t in trials if t.complete and selection.window and t.rows < selection.window]
    if not short:
        return []
    fewest = min(t.rows for t in short)
    wanted = selection.window
    return [f"{len(short)} trials have fewer than {wanted} evaluations (as few as {fewest}): all of these count."]


def _validation_notes(trials: list[Trial], selection: Selection) -> list[str]:
    if not selection.validates:
        return []
    complete = [trial for trial in trials if trial.complete]
    if complete and all(_overlaps(trial, selection) for trial in complete):
        example = _reason(complete[0], "", selection)
        raise UserError(
            f"--select {selection.name} would choose by images that were trained on ({complete[0].name}: {example}); "
            "take last10, or run splits whose validation images have no label, such as "
            f"{_held_out(complete[0].config['dataset'])}"
        )
    notes = []
    smallest = min((trial.spec["valid"] for trial in trials), default=FEW_VALIDATION_IMAGES)
    if smallest < FEW_VALIDATION_IMAGES:
        notes.append(f"Validation sets have as few as {smallest} images: what is best on them is largely chance.")
    unknown = sum("valid_labeled" not in trial.provenance for trial in complete)
    if unknown:
        notes.append(f"Of {unknown} trials it is not on record whether labeled images are among the validation images.")
    return notes


def _held_out(dataset: str) -> str:
    """The split with validation images that have no label."""
    spec = parse_spec(dataset)
    return str(spec if spec.disjoint else replace(spec, held_out=True))


def _program_notes(trials: list[Trial]) -> list[str]:
    """Trials of different programs may differ by more than their settings."""
    programs = defaultdict(int)
    for trial in trials:
        if trial.provenance:
            dirty = " with uncommitted changes" if trial.provenance.get("dirty") else ""
            programs[f"{str(trial.provenance.get('commit') or 'unknown')[:12]}{dirty}"] += 1
    if len(programs) < 2:
        return []
    commonest = sorted(programs, key=lambda program: (-programs[program], program))[:3]
    parts = ", ".join(f"{program} ({programs[program]})" for program in commonest)
    more = ", …" if len(programs) > len(commonest) else ""
    return [f"The trials were made by {len(programs)} versions of the program: {parts}{more}."]


def order(key: Key) -> tuple:
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


def show(value) -> str:
    """A setting's value, as short as it can be written."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "none" if value is None else str(value)


def dataset_name(name: str) -> str:
    """The name of a data set in tables."""
    return DATASETS.get(name, name)
