"""What a sweep's own folder says about its trials: which it plans, what its grid varies, and what its search seeks.

runs.jsonl    one line per start, with the planned trials
sweep.yaml    the sweep file of the last start, with what the command line changed
search.json   the candidates of a search; only searches have one
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from cissl.analysis.text import load_json, one_line

METRICS = ("valid_accuracy", "valid_gmean")
RANGES = ("uniform", "loguniform", "int", "choice")


@dataclass(frozen=True)
class Problem:
    """A record that could not be read, and was skipped."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class SearchRecord:
    """What a sweep's search seeks.

    Attributes:
        space: what is searched, by setting: the distribution as in the sweep file, ``{"uniform": [0, 1]}``, or None
            where that is not known.
        metric: the column of the history that judges.
        candidates: per candidate the ids of its trials; None where they are not on record.
    """

    space: dict[str, dict[str, list] | None]
    metric: str = METRICS[0]
    candidates: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True)
class SweepRecord:
    """What a sweep's own folder says.

    Attributes:
        folder: where it lies.
        planned: ids of its trials.
        axes: settings that its grid varies.
        search: None where it is no search.
    """

    folder: str
    planned: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    search: SearchRecord | None = None


def read_sweep(store, folder: str) -> tuple[SweepRecord | None, list[Problem]]:
    """What a folder of trials says about them, None where it says nothing, and the files that could not be read.

    Trials of a search stay that whatever is damaged: as results of a grid they would be averaged.
    """
    problems: list[Problem] = []

    def attempt(name: str, parse: Callable[[], Any], damaged: Any) -> Any:
        """What the file says, None where there is none; `damaged` stands for one that cannot be read."""
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
    tried = {key: None for row in rows or () for key in row["params"]}
    space, metric = attempt("sweep.yaml", lambda: _search(file.get("search") or {}), None) or ({}, METRICS[0])
    trials = [row.get("trials") for row in rows or ()]
    candidates = tuple(map(tuple, trials)) if trials and None not in trials else None
    return replace(sweep, search=SearchRecord(space or tried, metric, candidates)), problems


def _last_run(data: bytes) -> dict[str, Any]:
    run = load_json(data.splitlines()[-1])
    _require(isinstance(run["trials"], list) and all(isinstance(trial, str) for trial in run["trials"]), "its trials")
    return run


def _sweep_file(data: bytes) -> dict[str, Any]:
    source = yaml.safe_load(data)
    _require(isinstance(source, dict), "its mapping")
    return source


def _axes(grid: Any) -> tuple[str, ...]:
    """The settings of a grid's axes; one axis may hold several, joined by commas."""
    return tuple(key.strip() for axis in grid or () for key in axis.split(","))


def _search(source: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Space and metric."""
    metric = source.get("metric", METRICS[0])
    _require(metric in METRICS, f"search.metric {metric!r}")
    return {key: _distribution(key, given) for key, given in (source.get("space") or {}).items()}, metric


def _distribution(key: str, given: dict[str, list]) -> dict[str, list]:
    ((kind, values),) = given.items()
    _require(kind in RANGES and isinstance(values, list) and values, f"search.space.{key}")
    if kind != "choice":
        values = [float(value) for value in values[:2]]  # YAML reads 1e-4 as text; an int range may end in its step
        _require(len(values) == 2, f"search.space.{key}")
    return {kind: values}


def _candidates(data: bytes) -> list[dict[str, Any]]:
    rows = load_json(data)
    _require(isinstance(rows, list) and all(isinstance(row["params"], dict) for row in rows), "its candidates")
    for row in rows:
        _require(all(isinstance(trial, str) for trial in row.get("trials", ())), "a candidate's trials")
    return rows


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be read")
