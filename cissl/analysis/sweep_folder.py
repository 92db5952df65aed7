"""Reads what a sweep's own folder says about its trials: its plan, its grid, and its search.

runs.jsonl    one line for each start, with the planned trials
sweep.yaml    the sweep file of the last start, with the command line's changes
search.json   the candidates of a search; only searches have one
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from cissl.analysis.record_store import RecordStore
from cissl.analysis.text import load_json, one_line
from cissl.record_format import CandidateRow

METRICS = ("valid_accuracy", "valid_gmean")
RANGES = ("uniform", "loguniform", "int", "choice")
Distribution = dict[str, list[Any]]  # as in the sweep file: {"uniform": [0, 1]}
Space = dict[str, Distribution | None]  # by setting; None where the distribution is not known


@dataclass(frozen=True)
class Problem:
    """A record that could not be read, and was skipped.

    Attributes:
        path: of the file or folder, as messages show it.
        message: what is wrong with it.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class SearchRecord:
    """The search of a sweep.

    Attributes:
        space: the searched settings, each with its distribution as in the sweep file, such as ``{"uniform": [0, 1]}``,
            or None where that is not known.
        metric: the column of the history by which candidates are compared.
        candidates: the ids of each candidate's trials; None where they are not on record.
    """

    space: Space
    metric: str = METRICS[0]
    candidates: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True)
class SweepRecord:
    """What a sweep's own folder says.

    Attributes:
        folder: the sweep's folder, as messages show it.
        planned: ids of its trials.
        axes: settings that its grid varies.
        search: its search; None where it is a grid.
    """

    folder: str
    planned: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    search: SearchRecord | None = None


def read_sweep(store: RecordStore, folder: str) -> tuple[SweepRecord | None, list[Problem]]:
    """Read a folder of trials.

    A search counts as a search whatever is damaged: as results of a grid, its trials would be averaged.

    Returns:
        What the folder says, None where it says nothing; and the files that could not be read.
    """
    problems: list[Problem] = []

    def attempt(name: str, parse: Callable[[], Any], damaged: Any) -> Any:
        """Parse a file. None where there is none, and ``damaged`` where it cannot be read."""
        try:
            return parse()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
            problems.append(Problem(store.display(f"{folder}/{name}"), f"damaged ({one_line(str(error))})"))
            return damaged

    run = attempt("runs.jsonl", lambda: _last_run(store.read(folder, "runs.jsonl")), {}) or {}
    file = attempt("sweep.yaml", lambda: _sweep_file(store.read(folder, "sweep.yaml")), {}) or {}
    rows = attempt("search.json", lambda: _candidates(store.read(folder, "search.json")), [])
    axes = attempt("sweep.yaml", lambda: _axes(file.get("grid")), ())
    sweep = SweepRecord(store.display(folder), tuple(run.get("trials", ())), axes)
    if file.get("search") is None and rows is None:
        return (sweep if sweep.planned else None), problems
    tried: Space = {key: None for row in rows or () for key in row["params"]}
    space, metric = attempt("sweep.yaml", lambda: _search(file.get("search") or {}), None) or ({}, METRICS[0])
    trials = [row.get("trials") for row in rows or ()]
    candidates = tuple(map(tuple, trials)) if trials and None not in trials else None
    return replace(sweep, search=SearchRecord(space or tried, metric, candidates)), problems


def _last_run(data: bytes) -> dict[str, Any]:
    run: dict[str, Any] = load_json(data.splitlines()[-1])
    _require(isinstance(run["trials"], list) and all(isinstance(trial, str) for trial in run["trials"]), "its trials")
    return run


def _sweep_file(data: bytes) -> dict[str, Any]:
    source: dict[str, Any] = yaml.safe_load(data)
    _require(isinstance(source, dict), "its mapping")
    return source


def _axes(grid: Any) -> tuple[str, ...]:
    """The settings of a grid's axes; one axis may hold several, joined by commas."""
    return tuple(key.strip() for axis in grid or () for key in axis.split(","))


def _search(source: dict[str, Any]) -> tuple[Space, str]:
    """The space and the metric of a search."""
    metric = source.get("metric", METRICS[0])
    _require(metric in METRICS, f"search.metric {metric!r}")
    return {key: _distribution(key, given) for key, given in (source.get("space") or {}).items()}, metric


def _distribution(key: str, given: Distribution) -> Distribution:
    ((kind, values),) = given.items()
    _require(kind in RANGES and isinstance(values, list) and values, f"search.space.{key}")
    if kind != "choice":
        values = [float(value) for value in values[:2]]  # YAML reads 1e-4 as text; an int range may end in its step
        _require(len(values) == 2, f"search.space.{key}")
    return {kind: values}


def _candidates(data: bytes) -> list[CandidateRow]:
    rows: list[CandidateRow] = load_json(data)
    _require(isinstance(rows, list) and all(isinstance(row["params"], dict) for row in rows), "its candidates")
    for row in rows:
        _require(all(isinstance(trial, str) for trial in row.get("trials", ())), "a candidate's trials")
    return rows


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be read")
