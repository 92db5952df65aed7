"""Summary of a hyper-parameter search: its candidates, best first by the validation figure that chose them."""

from collections import defaultdict

import numpy as np

from analysis.errors import AnalysisError
from analysis.formats import Entry, Line, Table
from analysis.grid import SYMBOLS, show
from analysis.results import Records, Trial

DEFAULT_METRIC = "valid_accuracy"
WINDOW = 10  # evaluations
TITLES = {"accuracy": "accuracy", "gmean": "geometric mean"}


def search_tables(records: Records) -> list[Table]:
    """One table per search.

    Raises:
        AnalysisError: none of the trials belongs to a search.
    """
    sweeps: dict[str, list[Trial]] = defaultdict(list)
    for trial in records.trials:
        if trial.searched:
            sweeps[trial.plan.folder].append(trial)
    if not sweeps:
        raise AnalysisError("none of these trials belongs to a hyper-parameter search")
    return [_table(trials) for _, trials in sorted(sweeps.items())]


def _table(trials: list[Trial]) -> Table:
    search = trials[0].plan.search
    space = list(search.get("space", {}))
    metric = search.get("metric", DEFAULT_METRIC)
    candidates: dict[tuple, list[Trial]] = defaultdict(list)
    for trial in trials:
        candidates[tuple((key, trial.config.get(key)) for key in space)].append(trial)
    columns = [metric, *(f"test_{name}" for name in TITLES)]
    judged = {params: [_value(trial, metric) for trial in members] for params, members in candidates.items()}
    ranked = sorted(judged, key=lambda params: _rank(judged[params]))
    lines = [_line(params, candidates[params], judged[params], columns) for params in ranked]
    headings = [(source, TITLES[name]) for source, name in (column.split("_", 1) for column in columns)]
    return Table(
        title=f"Search {trials[0].sweep}",
        caption=f"Candidates of a hyper-parameter search, best first by {metric}: mean over the last {WINDOW} "
        "evaluations (0 for a trial that diverged), then mean ± sample standard deviation over the candidate's "
        "trials; candidates with unfinished trials come last. Test figures are shown for completeness and chose "
        "nothing; a search belongs into no table of results.",
        headings=[("validation" if source == "valid" else source, name) for source, name in headings],
        sections=[lines],
        notes=[f"{len(candidates)} candidates, {len(trials)} trials."],
        footnotes=[],
        label="tab:search",
        columns=[{"column": column} for column in columns],
    )


def _value(trial: Trial, metric: str) -> float:
    """What a trial counts for its candidate, as the search itself counts it; NaN unless it has ended."""
    if trial.state == "diverged":
        return 0.0
    return float(np.mean(trial.history[metric][-WINDOW:])) if trial.complete else np.nan


def _rank(values: list[float]) -> tuple[bool, float]:
    """Judged candidates first, the best of them at the top."""
    mean = float(np.mean(values))
    return bool(np.isnan(mean)), -float(np.nan_to_num(mean))


def _line(params: tuple, trials: list[Trial], judged: list[float], columns: list[str]) -> Line:
    states = sorted({trial.state for trial in trials} - {"complete"})
    complete = sum(trial.complete for trial in trials)
    text = f"({complete}/{len(trials)} complete; {', '.join(states)})" if states else ""
    entries = [_entry([value for value in judged if not np.isnan(value)], len(trials), text)]
    for column in columns[1:]:
        finals = [float(np.mean(t.history[column.removeprefix("test_")][-WINDOW:])) for t in trials if t.complete]
        entries.append(_entry(finals, len(trials)))
    label = ", ".join(f"{SYMBOLS.get(key, key)} = {_short(value)}" for key, value in params)
    return Line(label or "no searched setting", entries, dict(params))


def _short(value) -> str:
    """Three digits of a number: a sampler draws sixteen, which the records keep."""
    return f"{value:.3g}" if isinstance(value, float) else show(value)


def _entry(values: list[float], total: int, text: str = "") -> Entry:
    mean = float(np.mean(values)) if values else np.nan
    std = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    return Entry(mean, std, len(values), total, text)
