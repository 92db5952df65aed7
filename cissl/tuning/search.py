"""A hyper-parameter search: Optuna proposes candidates, which run the sweep's grid and are judged on validation data.

A candidate's value is the mean, over its trials, of the metric's mean over the last ten evaluations. Candidates are
kept in ``search.json``, their values come from the trials' own records, and what Optuna draws is a function of the
seed, the candidate's number and what was known by then. So a search that is run again goes on with the same candidates.
Those that lie outside a space that was changed stay in the file, and come back when the space holds them again.
"""

import collections
import contextlib
import dataclasses
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna

from cissl.atomic_files import write_json
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training.records import ROWS, read_history, read_status
from cissl.tuning import scalars
from cissl.tuning.halving import Halving
from cissl.tuning.sweep_file import Dimension, Sweep, same_value

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
    if dimension.kind in ("int", "logint"):
        return optuna.distributions.IntDistribution(low, high, step=dimension.step, log=dimension.kind == "logint")
    return optuna.distributions.FloatDistribution(low, high, log=dimension.kind == "loguniform")


def _lies_in(dimension: Dimension, value: Any) -> bool:
    if dimension.kind == "choice":
        return any(same_value(value, choice) for choice in dimension.values)
    low, high = dimension.values
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return False
    return dimension.kind not in ("int", "logint") or (value - low) % dimension.step == 0


def _read(path: Path) -> list[dict[str, Any]]:
    """The candidates of earlier runs; none where there is no file.

    Raises:
        UserError: the file is damaged. To begin with an empty one instead would lose the candidates for good.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(rows, list):
        raise _damaged(path, "it is not a list of candidates")
    for number, row in enumerate(rows):
        if not (
            isinstance(row, dict)
            and isinstance(row.get("params"), dict)
            and isinstance(row.get("number"), int)
            and isinstance(row.get("state"), str)
            and isinstance(row.get("stopped"), str | None)
        ):
            raise _damaged(path, f"candidate {number} has no number, params or state")
    return rows


def _refuse(constant: str) -> None:
    """NaN and infinities are no JSON, and could not be written back."""
    raise ValueError(f"it has the value {constant}")


def _damaged(path: Path, reason: object) -> UserError:
    return UserError(
        f"{path}: the candidates of this search cannot be read: {reason}; put a whole copy of the file in its place, "
        "or move it away to begin the search anew (trials that are complete are not trained again)"
    )


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
        self.aside: list[dict[str, Any]] = []
        """rows of earlier candidates that lie outside the space as it is now"""
        self.without_figure: dict[str, str] = {}
        """trials whose record gives no figure, by id, and why; their candidates have failed until it is mended"""
        self._point = sweep.point()
        self._halving = Halving(sweep.rungs, self.search.asha.reduction_factor) if self.search.asha else None
        self._space = {key: _distribution(dimension) for key, dimension in self.search.space.items()}
        self._open: dict[str, TrialConfig] = {}  # trials that are to run or running, by id
        self._waiting: collections.deque[TrialConfig] = collections.deque()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize")
        for row in _read(folder / FILE):
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
            number = 1 + max((row["number"] for row in self._rows()), default=-1)
            asked = self._proposal(number)
            self._add(number, asked, self.sweep.candidate(asked.params))
            self._keep()
        return self._waiting.popleft() if self._waiting else None

    def evaluated(self, trial_id: str, row: dict[str, Any]) -> bool:
        """Note an evaluation of a trial; whether it should end here, because others are better."""
        config = self._open.get(trial_id)
        if self._halving is None or config is None:
            return False
        return self._compare(config, row["step"], row[self.search.metric])

    def _compare(self, config: TrialConfig, step: int, value: float | None) -> bool:
        return self._halving.falls_behind(self._point(config), config.trial_id, step / config.steps, value)

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

    def _add(self, number: int, asked: optuna.trial.Trial, trials: list[TrialConfig]) -> Candidate:
        """Take up a candidate; trials that another one has as well run once."""
        candidate = Candidate(number, dict(asked.params), trials, asked)
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
        """Take up a candidate of an earlier run, or lay it aside if the space no longer holds it."""
        params = self._as_in_the_space(row["params"])
        try:
            trials = self.sweep.candidate(params) if params else None
        except UserError:  # such a trial cannot be any more, as when the number of workers has changed
            trials = None
        if trials is None:
            self.aside.append(row)
            return
        self._study.enqueue_trial(params)
        candidate = self._add(row["number"], self._study.ask(self._space), trials)
        if row["state"] == "pruned" and candidate.state == "open" and row["stopped"] in [t.trial_id for t in trials]:
            self._prune(candidate, row["stopped"])
        if self._halving:
            for config in trials:
                for step, value in self._evaluations(config.trial_id):
                    self._compare(config, step, value)

    def _as_in_the_space(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """The same settings as the space spells them; None if they lie outside of it."""
        space = self.search.space
        if params.keys() != space.keys():
            return None
        found = {}
        for key, dimension in space.items():
            spellings = [params[key]]
            if isinstance(params[key], str):  # files of before hold 1e-2 as text
                with contextlib.suppress(ValueError):
                    spellings.append(scalars.read(params[key]))
            inside = [value for value in spellings if _lies_in(dimension, value)]
            if not inside:
                return None
            found[key] = inside[0]
        return found

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
        evaluations = self._evaluations(trial_id)
        if evaluations and evaluations[-1][1] is not None:
            step, value = evaluations[-1]
            candidate.asked.report(value, step)
        self._study.tell(candidate.asked, state=optuna.trial.TrialState.PRUNED)

    def _value(self, config: TrialConfig) -> float | None:
        """What a trial counts; None if it has not ended as it should, or its validation data lack a class."""
        state = self._state(config)
        if state == "diverged":
            return WORST
        if state != "complete":
            return None
        values = [value for _, value in self._evaluations(config.trial_id)[-WINDOW:]]
        if values and None not in values:
            return fmean(values)
        missing = f"{self.search.metric} of some evaluations: no validation image of some class" if values else "a row"
        self.without_figure.setdefault(config.trial_id, f"{self.folder / config.trial_id / ROWS} lacks {missing}")
        return None

    def _evaluations(self, trial_id: str) -> list[tuple[int, float | None]]:
        """Step and figure of a trial's evaluations, oldest first; none where the record is damaged, which is noted."""
        self.without_figure.pop(trial_id, None)
        metric = self.search.metric
        try:
            rows = read_history(self.folder / trial_id)
        except UserError as error:  # one trial's damage stops no other trial
            self.without_figure[trial_id] = str(error)
            return []
        for row in rows:
            figure = row.get(metric, "")
            if not isinstance(row.get("step"), int) or not isinstance(figure, int | float | None):
                self.without_figure[trial_id] = (
                    f"{self.folder / trial_id}: an evaluation in its history has no step or no {metric}; put the file "
                    "back from a copy, or move that folder away to train the trial again"
                )
                return []
        return [(row["step"], row[metric]) for row in rows]

    def _state(self, config: TrialConfig) -> str | None:
        return (read_status(self.folder / config.trial_id) or {}).get("state")

    def _keep(self) -> None:
        write_json(self.folder / FILE, self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        """All candidates as the file has them, those that are laid aside in their places."""
        kept = ("number", "params", "state", "value", "stopped")
        rows = [
            {**{key: getattr(candidate, key) for key in kept}, "trials": [trial.trial_id for trial in candidate.trials]}
            for candidate in self.candidates
        ]
        return sorted(rows + self.aside, key=lambda row: row["number"])
