"""Tables of hyper-parameter searches: candidates, best first by the validation figure that chose them.

A candidate runs the sweep's grid, and its figure is the mean over its trials. Its trials differ in the grid's axes and
the seeds, and in nothing else. A folder may also hold trials of earlier runs under other settings. These are candidates
of their own, which stand below a line and are not compared with today's.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cissl.analysis import labels
from cissl.analysis.cells import REPLICATES, SETTING, attributes, mark_split_variants
from cissl.analysis.formats import Entry, Line, Table, slug
from cissl.analysis.results import Records, Trial
from cissl.analysis.sweep_folder import SearchRecord, Space, SweepRecord
from cissl.analysis.values import Key, Value, Values
from cissl.analysis.words import SYMBOLS, first_names, format_value, sort_key
from cissl.errors import UserError

WINDOW = 10  # evaluations
TITLES = {"accuracy": "accuracy", "gmean": "geometric mean"}
PARTS = {  # settings of sweep files → what tables call them
    "labeled_size": ("size",),
    "valid_size": ("valid",),
    "dataset": SETTING,
    "seed": REPLICATES,
}
Context = tuple[Value, ...]  # values of the settings that are neither searched nor varied by the grid


@dataclass(frozen=True)
class TriedCandidate:
    """Settings that a search has tried.

    Attributes:
        params: the searched settings and their values.
        others: further settings that distinguish it from other candidates.
        trials: by setting of the grid, trials that differ only in the seed.
        metric: the column of the history by which candidates are compared.
        missing: number of its trials that have not started.
    """

    params: Values
    others: Values
    trials: dict[Key, list[Trial]]
    metric: str
    missing: int = 0

    @property
    def all_trials(self) -> list[Trial]:
        """Its trials in all settings of the grid."""
        return [trial for trials in self.trials.values() for trial in trials]

    @property
    def values(self) -> list[float]:
        """The figure of each trial in percent: 0 if it diverged, NaN if it has not ended."""
        return [_value(trial, self.metric) for trial in self.all_trials]

    @property
    def complete(self) -> bool:
        """Whether all its trials have started and are complete."""
        return not self.missing and all(trial.complete for trial in self.all_trials)

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds in percentage points; NaN where trials differ in more than the seed."""
        return float(np.std(self.values, ddof=1)) if len(self.trials) == 1 and len(self.values) > 1 else np.nan


@dataclass(frozen=True)
class SearchResults:
    """The search of a sweep.

    Attributes:
        name: of the sweep.
        space: the searched settings, each with its distribution as in the sweep file, or None where that is not known.
        metric: the column of the history by which candidates are compared.
        settings: of the grid; every candidate has trials in each of them.
        candidates: best first.
        earlier: candidates that ran under other settings than the search has now, best first.
        notes: sentences that a reader must know.
    """

    name: str
    space: Space
    metric: str
    settings: list[Key]
    candidates: list[TriedCandidate]
    earlier: list[TriedCandidate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def searches(records: Records) -> list[SearchResults]:
    """The searches that these trials belong to; an empty list if there are none."""
    found: dict[str, _SearchTrials] = {}
    for trial in records.trials:
        plan = trial.plan
        if plan is not None and plan.search is not None:
            found.setdefault(plan.folder, _SearchTrials(plan, plan.search, [])).trials.append(trial)
    return [_results(found[folder]) for folder in sorted(found)]


def search_tables(records: Records) -> list[Table]:
    """One table for each search.

    Raises:
        UserError: none of the trials belongs to a search.
    """
    found = searches(records)
    if not found:
        unread = f"; could not be read: {first_names(list(map(str, records.problems)))}" if records.problems else ""
        raise UserError(f"none of these trials belongs to a hyper-parameter search{unread}")
    return [_table(search) for search in found]


class _SearchTrials(NamedTuple):
    """The trials of one search, and what the sweep's folder says about them."""

    sweep: SweepRecord
    search: SearchRecord
    trials: list[Trial]


def _results(found: _SearchTrials) -> SearchResults:
    sweep, search, trials = found
    described = {id(trial): attributes(trial) for trial in trials}
    notes = mark_split_variants(trials, described)
    roles = _roles(sweep, search, described.values())
    by_context: dict[Context, list[TriedCandidate]] = defaultdict(list)
    for candidate in _candidates(trials, described, roles, search):
        by_context[tuple(candidate.others.values())].append(candidate)
    today = _context_of_today(by_context, search.candidates)
    earlier = [candidate for context, group in by_context.items() if context != today for candidate in group]
    return SearchResults(
        name=trials[0].sweep or sweep.folder,
        space=search.space or dict.fromkeys(roles.searched),
        metric=search.metric,
        settings=sorted({s for group in by_context.values() for c in group for s in c.trials}, key=sort_key),
        candidates=sorted(by_context[today], key=_rank),
        earlier=sorted(earlier, key=_rank),
        notes=notes + _not_started_notes(trials, search.candidates) + _overlap_notes(trials),
    )


@dataclass(frozen=True)
class _Roles:
    """The settings that differ between a search's trials.

    Attributes:
        searched: name in the sweep file → name in the trials' records.
        axes: those that the grid varies.
        others: those that differ although they are neither searched nor axes.
    """

    searched: dict[str, str]
    axes: list[str]
    others: list[str]


def _roles(sweep: SweepRecord, search: SearchRecord, described: Collection[Values]) -> _Roles:
    searched = {key: _parts(key)[0] for key in search.space}
    axes = [part for key in sweep.axes for part in _parts(key) if part not in (*REPLICATES, *searched.values())]
    known = {*searched.values(), *axes, *REPLICATES, "steps"}  # steps follow from other settings
    keys = dict.fromkeys(key for values in described for key in values if key not in known)
    others = [key for key in keys if len({repr(values.get(key)) for values in described}) > 1]
    if not searched:  # the record of what was searched is lost: it was whatever differs
        return _Roles({key: key for key in others}, axes, [])
    return _Roles(searched, axes, others)


def _candidates(
    trials: list[Trial], described: dict[int, Values], roles: _Roles, search: SearchRecord
) -> list[TriedCandidate]:
    groups: dict[tuple[Value, ...], dict[Key, list[Trial]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        values = described[id(trial)]
        identity = tuple(values.get(key) for key in (*roles.searched.values(), *roles.others))
        groups[identity][tuple((key, values.get(key)) for key in roles.axes)].append(trial)
    made = []
    for identity, by_setting in groups.items():
        params = dict(zip(roles.searched, identity, strict=False))
        others = dict(zip(roles.others, identity[len(params) :], strict=True))
        missing = _missing([trial for found in by_setting.values() for trial in found], search.candidates)
        made.append(TriedCandidate(params, others, dict(by_setting), search.metric, missing))
    return made


def _parts(key: str) -> tuple[str, ...]:
    return PARTS.get(key, (key,))


def _missing(trials: list[Trial], candidates: Sequence[Sequence[str]] | None) -> int:
    """How many trials of this candidate have no folder yet."""
    found = {trial.trial_id for trial in trials}
    planned = set[str]().union(*(ids for ids in candidates or () if found.intersection(ids)))
    return len(planned - found)


def _context_of_today(
    candidates: dict[Context, list[TriedCandidate]], known: Sequence[Sequence[str]] | None
) -> Context:
    """The other settings that the search has now: those of the trials that ran last."""
    listed = set[str]().union(*known or ())

    def recency(context: Context) -> tuple[str, int]:
        trials = [trial for candidate in candidates[context] for trial in candidate.all_trials]
        last = max(trial.status.get("updated") or "" for trial in trials)
        return last, sum(trial.trial_id in listed for trial in trials)

    return max(candidates, key=recency)


def _not_started_notes(trials: list[Trial], candidates: Sequence[Sequence[str]] | None) -> list[str]:
    found = {trial.trial_id for trial in trials}
    absent = sum(found.isdisjoint(ids) for ids in candidates or ())
    return [f"Candidates without a trial that has started: {absent}."] if absent else []


def _overlap_notes(trials: list[Trial]) -> list[str]:
    """How many validation images were trained on, if any; by these, candidates are compared unfairly."""
    facts = max((t.provenance for t in trials), key=lambda facts: facts.get("valid_labeled") or 0)
    worst, size = facts.get("valid_labeled"), facts.get("valid_size")
    if not worst:
        return []
    return [
        f"As many as {worst} of {size} validation images are labeled images too, which favours candidates that fit "
        "their training images best. Splits with _HELDOUT have no such images."
    ]


def _table(search: SearchResults) -> Table:
    several = len(search.settings) > 1
    kind = search.metric.removeprefix("valid_")
    headings = [("validation", f"{TITLES[kind]}, all settings")] if several else []
    columns: list[Values] = [{"column": search.metric, "of": "all settings"}] if several else []
    for words in labels.headings_in_words(search.settings):
        of: Values = {"of": words} if several else {}
        headings.append((words if several else "validation", f"validation {TITLES[kind]}" if several else TITLES[kind]))
        headings += [(words if several else "test", f"test {title}" if several else title) for title in TITLES.values()]
        columns += [{"column": name, **of} for name in (search.metric, *(f"test_{name}" for name in TITLES))]
    sections = [[_line(candidate, _label(candidate), search.settings) for candidate in search.candidates]]
    if search.earlier:
        sections.append([_line(c, f"earlier: {_label(c, others=True)}", search.settings) for c in search.earlier])
    return Table(
        title=f"Search {search.name}",
        caption=f"Candidates of a hyper-parameter search, best first by {search.metric}: mean over the last {WINDOW} "
        "evaluations (0 for a trial that diverged), then mean ± sample standard deviation over the candidate's "
        "seeds; candidates with unfinished trials come last. Test figures are shown for completeness and chose "
        "nothing; a search belongs in no table of results.",
        headings=headings,
        sections=sections,
        notes=_notes(search),
        footnotes=[],
        label=f"tab:{slug(f'search {search.name}')}",
        columns=columns,
    )


def _notes(search: SearchResults) -> list[str]:
    trials = [trial for c in (*search.candidates, *search.earlier) for trial in c.all_trials]
    notes = [f"{len(search.candidates)} candidates, {sum(len(c.all_trials) for c in search.candidates)} trials."]
    if search.earlier:
        keys = ", ".join(search.earlier[0].others)
        notes.append(
            f"{len(search.earlier)} candidates belong to earlier runs under other settings ({keys}); they cannot be "
            "compared with the others."
        )
    if len(search.settings) > 1:
        notes.append(
            f"Each candidate runs in {len(search.settings)} settings and is judged by the mean over all trials."
        )
    short = sum(trial.complete and trial.rows < WINDOW for trial in trials)
    notes += [f"{short} trials have fewer than {WINDOW} evaluations; theirs are means over all."] if short else []
    return notes + search.notes


def _value(trial: Trial, metric: str) -> float:
    """The figure of a trial in percent, as the search itself computes it; NaN unless the trial has ended."""
    if trial.state == "diverged":
        return 0.0
    return float(np.mean(trial.history[metric][-WINDOW:])) if trial.complete else np.nan


def _rank(candidate: TriedCandidate) -> tuple[bool, float]:
    """A key for `sorted`: the best candidate first, those without a figure last."""
    mean = np.nan if candidate.missing else float(np.mean(candidate.values))
    return bool(np.isnan(mean)), -float(np.nan_to_num(mean))


def _label(candidate: TriedCandidate, *, others: bool = False) -> str:
    told = [f"{SYMBOLS.get(key, key)} = {_short(value)}" for key, value in candidate.params.items()]
    words = labels.in_words(tuple(candidate.others.items())) if others else ""
    return ", ".join([*told, *([words] if words else [])]) or "no searched setting"


def _line(candidate: TriedCandidate, label: str, settings: list[Key]) -> Line:
    entries = []
    if len(settings) > 1:
        values = [value for value in candidate.values if not np.isnan(value)]
        mean = float(np.mean(values)) if values else np.nan
        entries.append(Entry(mean, np.nan, len(values), len(candidate.values), _states(candidate)))
    for setting in settings:
        trials = candidate.trials.get(setting, [])
        values = [_value(trial, candidate.metric) for trial in trials]
        text = "" if len(settings) > 1 else _states(candidate)
        entries.append(_entry([value for value in values if not np.isnan(value)], len(trials), text))
        for name in TITLES:
            finals = [float(np.mean(trial.history[name][-WINDOW:])) for trial in trials if trial.complete]
            entries.append(_entry(finals, len(trials)))
    return Line(label, entries, candidate.params | candidate.others)


def _states(candidate: TriedCandidate) -> str:
    """How many trials of a candidate are complete, if not all are."""
    trials = candidate.all_trials
    states = sorted({trial.state for trial in trials} - {"complete"}) + ["not started"] * bool(candidate.missing)
    complete = sum(trial.complete for trial in trials)
    return f"({complete}/{len(trials) + candidate.missing} complete; {', '.join(states)})" if states else ""


def _short(value: Value) -> str:
    """A value with three digits; a sampler draws sixteen, which the records keep."""
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def _entry(values: list[float], total: int, text: str = "") -> Entry:
    mean = float(np.mean(values)) if values else np.nan
    std = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    return Entry(mean, std, len(values), total, text)
