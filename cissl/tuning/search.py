"""A hyper-parameter search: Optuna proposes candidates, which run the sweep's grid and are judged on validation data.

A candidate's value is the mean, over its trials, of the metric's mean over the last ten evaluations. Candidates are
kept in ``search.json``, their values come from the trials' own records, and what Optuna draws is a function of the
seed, the candidate's number and what was known by then. So a search that is run again goes on with the same candidates.
"""

import collections
import dataclasses
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna

from cissl.config import TrialConfig
from cissl.training.files import read_json, write_json
from cissl.training.records import read_history, read_status
from cissl.tuning.sweep_file import Dimension, Sweep

FILE = "search.json"
WINDOW = 10  # evaluations, as in the tables
WORST = 0.0  # percent: what a trial that diverged counts


@dataclasses.dataclass
class Candidate:
    """Settings that were proposed, and what became of them."""

    number: int
    params: dict[str, Any]
    trials: list[TrialConfig]
    asked: optuna.trial.Trial
    state: str = "open"
    """open, complete, pruned (a trial was stopped early) or failed"""
    value: float | None = None
    stopped: str | None = None
    """the trial that was stopped early"""


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if dimension.kind == "choice":
        return optuna.distributions.CategoricalDistribution(dimension.values)
    low, high = dimension.values
    if dimension.kind == "int":
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=dimension.kind == "loguniform")


def _lies_in(dimension: Dimension, value: Any) -> bool:
    if dimension.kind == "choice":
        return value in dimension.values
    return isinstance(value, int | float) and dimension.values[0] <= value <= dimension.values[1]


class Study:
    """Proposes candidates and judges them; knows nothing of Ray.

    Args:
        sweep: a sweep with a search.
        folder: the sweep's, where earlier runs have left their records.
    """

    def __init__(self, sweep: Sweep, folder: Path):
        assert sweep.search is not None
        self.sweep, self.folder, self.search = sweep, folder, sweep.search
        self.candidates: list[Candidate] = []
        self.forgotten = 0
        """candidates of earlier runs that lie outside the space as it is now"""
        self._space = {key: _distribution(dimension) for key, dimension in self.search.space.items()}
        self._open: dict[str, TrialConfig] = {}  # trials that are to run or running, by id
        self._waiting: collections.deque[TrialConfig] = collections.deque()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize")
        for row in read_json(folder / FILE) or []:
            self._recall(row)

    @property
    def trials(self) -> list[TrialConfig]:
        """All trials so far, each once."""
        return list({config.trial_id: config for candidate in self.candidates for config in candidate.trials}.values())

    @property
    def given_up(self) -> list[TrialConfig]:
        """Trials that were stopped early."""
        stopped = {candidate.stopped for candidate in self.candidates}
        return [config for config in self.trials if config.trial_id in stopped]

    @property
    def best(self) -> Candidate | None:
        """The best complete candidate."""
        complete = [candidate for candidate in self.candidates if candidate.state == "complete"]
        return max(complete, key=lambda candidate: candidate.value, default=None)

    @property
    def proposed_all(self) -> bool:
        """Whether no further trial will come."""
        return not self._waiting and len(self.candidates) >= self.search.trials

    @property
    def finished(self) -> bool:
        return self.proposed_all and not self._open

    def next_trial(self) -> TrialConfig | None:
        """A trial that is to run next; None when all have been handed out."""
        while not self._waiting and len(self.candidates) < self.search.trials:
            self._add(self._proposal(len(self.candidates)))
            self._keep()
        return self._waiting.popleft() if self._waiting else None

    def ended(self, trial_id: str, *, early: bool = False) -> None:
        """Note that a trial has ended, `early` if that was the search's own decision."""
        self._open.pop(trial_id, None)
        for candidate in self.candidates:
            if candidate.state == "open" and any(config.trial_id == trial_id for config in candidate.trials):
                self._prune(candidate, trial_id) if early else self._judge(candidate)
        self._keep()

    def _proposal(self, number: int) -> optuna.trial.Trial:
        seed = (self.search.seed * 1_000_003 + number) % 2**32
        if self.search.sampler == "tpe":
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            self._study.sampler = optuna.samplers.RandomSampler(seed=seed)
        return self._study.ask(self._space)

    def _add(self, asked: optuna.trial.Trial) -> Candidate:
        """Take up a candidate; trials that another one has as well run once."""
        candidate = Candidate(len(self.candidates), dict(asked.params), self.sweep.candidate(asked.params), asked)
        given_up = {config.trial_id for config in self.given_up}
        self.candidates.append(candidate)
        for config in candidate.trials:
            if config.trial_id in given_up:
                self._prune(candidate, config.trial_id)
                return candidate
        for config in candidate.trials:
            if config.trial_id not in self._open and self._state(config) not in ("complete", "diverged"):
                self._open[config.trial_id] = config
                self._waiting.append(config)
        self._judge(candidate)
        return candidate

    def _recall(self, row: dict[str, Any]) -> None:
        """Take up a candidate of an earlier run."""
        space, params = self.search.space, row["params"]
        if params.keys() != space.keys() or not all(_lies_in(space[key], params[key]) for key in space):
            self.forgotten += 1
            return
        self._study.enqueue_trial(params)
        candidate = self._add(self._study.ask(self._space))
        if row["state"] == "pruned" and candidate.state == "open":
            self._prune(candidate, row["stopped"])

    def _judge(self, candidate: Candidate) -> None:
        if any(config.trial_id in self._open for config in candidate.trials):
            return
        values = [self._value(config) for config in candidate.trials]
        if None in values:
            candidate.state = "failed"
            self._study.tell(candidate.asked, state=optuna.trial.TrialState.FAIL)
        else:
            candidate.state, candidate.value = "complete", fmean(values)
            self._study.tell(candidate.asked, candidate.value)

    def _prune(self, candidate: Candidate, trial_id: str) -> None:
        """Give a candidate up; what it reached counts for Optuna, and its other trials do not start."""
        candidate.state, candidate.stopped = "pruned", trial_id
        for config in candidate.trials:
            if config in self._waiting:
                self._waiting.remove(config)
                del self._open[config.trial_id]
        rows = read_history(self.folder / trial_id)
        if rows and rows[-1][self.search.metric] is not None:
            candidate.asked.report(rows[-1][self.search.metric], rows[-1]["step"])
        self._study.tell(candidate.asked, state=optuna.trial.TrialState.PRUNED)

    def _value(self, config: TrialConfig) -> float | None:
        """What a trial counts; None if it has not ended as it should, or its validation data lack a class."""
        state = self._state(config)
        if state == "diverged":
            return WORST
        values = [row[self.search.metric] for row in read_history(self.folder / config.trial_id)[-WINDOW:]]
        return fmean(values) if state == "complete" and None not in values else None

    def _state(self, config: TrialConfig) -> str | None:
        return (read_status(self.folder / config.trial_id) or {}).get("state")

    def _keep(self) -> None:
        kept = ("number", "params", "state", "value", "stopped")
        rows = [{key: getattr(candidate, key) for key in kept} for candidate in self.candidates]
        write_json(self.folder / FILE, rows)
