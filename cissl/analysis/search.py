"""Summary of a hyper-parameter search: its candidates, best first by the validation figure that chose them."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cissl.analysis.formats import Entry, Line, Table
from cissl.analysis.grid import SYMBOLS, show
from cissl.analysis.results import Records, Trial
from cissl.errors import UserError

DEFAULT_METRIC = "valid_accuracy"
WINDOW = 10  # evaluations
TITLES = {"accuracy": "accuracy", "gmean": "geometric mean"}


@dataclass(frozen=True)
class Candidate:
    """Settings that a search has tried."""

    params: dict
    trials: list[Trial]
    values: list[float]
    """what each trial counts, see `_value`"""


@dataclass(frozen=True)
class Search:
    """A sweep's search.

    Attributes:
        space: what was searched, by setting; the distribution as in the sweep file, or None where that is not known.
        metric: the column of the history that judges.
        candidates: best first.
    """

    name: str
    space: dict
    metric: str
    candidates: list[Candidate]


def searches(records: Records) -> list[Search]:
    """The searches that these trials belong to; none is fine."""
    sweeps: dict[str, list[Trial]] = defaultdict(list)
    for trial in records.trials:
        if trial.searched:
            sweeps[trial.plan.folder].append(trial)
    return [_search(trials) for _, trials in sorted(sweeps.items())]


def search_tables(records: Records) -> list[Table]:
    """One table per search.

    Raises:
        UserError: none of the trials belongs to a search.
    """
    found = searches(records)
    if not found:
        raise UserError("none of these trials belongs to a hyper-parameter search")
    return [_table(search) for search in found]


def _search(trials: list[Trial]) -> Search:
    plan = trials[0].plan.search
    space, metric = dict(plan.get("space", {})), plan.get("metric", DEFAULT_METRIC)
    groups: dict[tuple, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[tuple((key, trial.config.get(key)) for key in space)].append(trial)
    candidates = [Candidate(dict(params), made, [_value(t, metric) for t in made]) for params, made in groups.items()]
    return Search(trials[0].sweep, space, metric, sorted(candidates, key=_rank))


def _table(search: Search) -> Table:
    columns = [search.metric, *(f"test_{name}" for name in TITLES)]
    headings = [(source, TITLES[name]) for source, name in (column.split("_", 1) for column in columns)]
    trials = sum(len(candidate.trials) for candidate in search.candidates)
    return Table(
        title=f"Search {search.name}",
        caption=f"Candidates of a hyper-parameter search, best first by {search.metric}: mean over the last {WINDOW} "
        "evaluations (0 for a trial that diverged), then mean ± sample standard deviation over the candidate's "
        "trials; candidates with unfinished trials come last. Test figures are shown for completeness and chose "
        "nothing; a search belongs into no table of results.",
        headings=[("validation" if source == "valid" else source, name) for source, name in headings],
        sections=[[_line(candidate, columns) for candidate in search.candidates]],
        notes=[f"{len(search.candidates)} candidates, {trials} trials.", *_short_notes(search)],
        footnotes=[],
        label="tab:search",
        columns=[{"column": column} for column in columns],
    )


def _short_notes(search: Search) -> list[str]:
    complete = [trial for candidate in search.candidates for trial in candidate.trials if trial.complete]
    short = sum(trial.rows < WINDOW for trial in complete)
    return [f"{short} trials have fewer than {WINDOW} evaluations; theirs are means over all."] if short else []


def _value(trial: Trial, metric: str) -> float:
    """What a trial counts for its candidate, as the search itself counts it; NaN unless it has ended."""
    if trial.state == "diverged":
        return 0.0
    return float(np.mean(trial.history[metric][-WINDOW:])) if trial.complete else np.nan


def _rank(candidate: Candidate) -> tuple[bool, float]:
    """Judged candidates first, the best of them at the top."""
    mean = float(np.mean(candidate.values))
    return bool(np.isnan(mean)), -float(np.nan_to_num(mean))


def _line(candidate: Candidate, columns: list[str]) -> Line:
    trials = candidate.trials
    states = sorted({trial.state for trial in trials} - {"complete"})
    complete = sum(trial.complete for trial in trials)
    text = f"({complete}/{len(trials)} complete; {', '.join(states)})" if states else ""
    entries = [_entry([value for value in candidate.values if not np.isnan(value)], len(trials), text)]
    for column in columns[1:]:
        finals = [float(np.mean(t.history[column.removeprefix("test_")][-WINDOW:])) for t in trials if t.complete]
        entries.append(_entry(finals, len(trials)))
    label = ", ".join(f"{SYMBOLS.get(key, key)} = {_short(value)}" for key, value in candidate.params.items())
    return Line(label or "no searched setting", entries, candidate.params)


def _short(value) -> str:
    """Three digits of a number: a sampler draws sixteen, which the records keep."""
    return f"{value:.3g}" if isinstance(value, float) else show(value)


def _entry(values: list[float], total: int, text: str = "") -> Entry:
    mean = float(np.mean(values)) if values else np.nan
    std = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    return Entry(mean, std, len(values), total, text)
