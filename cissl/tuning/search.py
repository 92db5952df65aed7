"""A hyper-parameter search. Optuna proposes candidates; each runs the sweep's grid and is judged on validation data.

A candidate's value is the mean, over its trials, of the metric's mean over the last ten evaluations. ``search.json``
keeps the candidates, and their values come from the trials' own records. Optuna's proposal depends only on the seed,
the candidate's number and the values that are known. So a search that is run again continues with the same candidates.
If the space is changed, candidates outside of it stay in the file. They return when the space contains them again.
"""

import collections
import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna

from cissl.atomic_files import write_json
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.record_format import CandidateRow
from cissl.training.records import ROWS, read_history, read_status
from cissl.tuning import scalars
from cissl.tuning.halving import Halving
from cissl.tuning.sweep_file import Dimension, Sweep, same_value

FILE = "search.json"
WINDOW = 10  # evaluations, as in the tables
WORST = 0.0  # the value of a trial that diverged, in percent


@dataclasses.dataclass
class Candidate:
    """Settings that were proposed, and their result.

    Attributes:
        number: of the candidate, counted from 0.
        params: its settings.
        trials: its trials, one for each point of the grid.
        asked: Optuna's trial, which gets the result.
        state: open, complete, pruned (a trial was stopped early) or failed.
        value: mean of the metric over its trials, in percent; None unless it is complete.
        stopped: id of the trial that was stopped early.
    """

    number: int
    params: dict[str, Any]
    trials: list[TrialConfig]
    asked: optuna.trial.Trial
    state: str = "open"
    value: float | None = None
    stopped: str | None = None


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


def _read(path: Path) -> list[CandidateRow]:
    """The candidates of earlier runs; none if there is no file.

    Raises:
        UserError: the file is damaged. With an empty one in its place the candidates would be lost.
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
    """Refuse NaN and infinities: they are no JSON, and could not be written back."""
    raise ValueError(f"it has the value {constant}")


def _damaged(path: Path, reason: object) -> UserError:
    return UserError(
        f"{path}: the candidates of this search cannot be read: {reason}; put a whole copy of the file in its place, "
        "or move it away to start the search again (trials that are complete are not trained again)"
    )


class Study:
    """Proposes candidates and judges them. It does not use Ray.

    Args:
        sweep: a sweep with a search.
        folder: the sweep's folder, in which earlier runs have left their records.

    Attributes:
        candidates: all candidates so far, in their order.
        aside: rows of earlier candidates that lie outside the current space.
        without_figure: trial id → why its record gives no figure; its candidates have failed until it is repaired.

    Raises:
        UserError: the file of candidates is damaged.
    """

    def __init__(self, sweep: Sweep, folder: Path):
        assert sweep.search is not None
        self.sweep, self.folder, self.search = sweep, folder, sweep.search
        self.candidates: list[Candidate] = []
        self.aside: list[CandidateRow] = []
        self.without_figure: dict[str, str] = {}
        self._point = sweep.point()
        self._halving = Halving(sweep.rungs, self.search.asha.reduction_factor) if self.search.asha else None
        self._space = {key: _distribution(dimension) for key, dimension in self.search.space.items()}
        self._open: dict[str, TrialConfig] = {}  # trials that run or will run, by id
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
        values = [(candidate.value, candidate) for candidate in self.candidates if candidate.value is not None]
        return max(values, key=lambda pair: pair[0], default=(None, None))[1]

    @property
    def proposed_all(self) -> bool:
        """Whether no further trial will be proposed."""
        return not self._waiting and len(self.candidates) >= self.search.trials

    @property
    def finished(self) -> bool:
        """Whether no trial runs and none will be proposed."""
        return self.proposed_all and not self._open

    def next_trial(self) -> TrialConfig | None:
        """The trial to run next; None if all have been handed out."""
        while not self._waiting and len(self.candidates) < self.search.trials:
            number = 1 + max((row["number"] for row in self._rows()), default=-1)
            asked = self._proposal(number)
            self._add(number, asked, self.sweep.candidate(asked.params))
            self._keep()
        return self._waiting.popleft() if self._waiting else None

    def evaluated(self, trial_id: str, row: Mapping[str, Any]) -> bool:
        """Note an evaluation of a trial; whether the trial should end here because others are better.

        Args:
            trial_id: id of the trial.
            row: has ``step`` and the search's metric.
        """
        config = self._open.get(trial_id)
        return config is not None and self._falls_behind(config, row["step"], row[self.search.metric])

    def _falls_behind(self, config: TrialConfig, step: int, value: float | None) -> bool:
        if self._halving is None:
            return False
        return self._halving.falls_behind(self._point(config), config.trial_id, step / config.steps, value)

    def ended(self, trial_id: str, *, early: bool = False) -> None:
        """Note that a trial has ended.

        Args:
            trial_id: id of the trial.
            early: whether the search stopped it.
        """
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
        """Add a candidate. A trial that several candidates share runs once."""
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

    def _recall(self, row: CandidateRow) -> None:
        """Add a candidate of an earlier run; keep its row aside if the space no longer contains it."""
        params = self._as_in_the_space(row["params"])
        trials = self._trials(params) if params else []
        if not params or not trials:
            self.aside.append(row)
            return
        self._study.enqueue_trial(params)
        candidate = self._add(row["number"], self._study.ask(self._space), trials)
        stopped = row.get("stopped")
        if row["state"] == "pruned" and candidate.state == "open" and stopped in [trial.trial_id for trial in trials]:
            self._prune(candidate, str(stopped))
        if self._halving:
            for config in trials:
                for step, value in self._evaluations(config.trial_id):
                    self._falls_behind(config, step, value)

    def _trials(self, params: dict[str, Any]) -> list[TrialConfig]:
        """A candidate's trials; none if they are no longer possible, as with another number of workers."""
        try:
            return self.sweep.candidate(params)
        except UserError:
            return []

    def _as_in_the_space(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """The settings with the values that the space has for them; None if they lie outside of it."""
        space = self.search.space
        if params.keys() != space.keys():
            return None
        found = {}
        for key, dimension in space.items():
            spellings = [params[key]]
            if isinstance(params[key], str):  # older files have 1e-2 as text
                with contextlib.suppress(ValueError):
                    spellings.append(scalars.read(params[key]))
            inside = [value for value in spellings if _lies_in(dimension, value)]
            if not inside:
                return None
            found[key] = inside[0]
        return found

    def _judge(self, candidate: Candidate) -> None:
        """Give a candidate its value if all of its trials have ended."""
        if any(config.trial_id in self._open for config in candidate.trials):
            return
        values = [value for value in map(self._value, candidate.trials) if value is not None]
        if len(values) < len(candidate.trials):
            candidate.state = "failed"
            self._study.tell(candidate.asked, state=optuna.trial.TrialState.FAIL)
        else:
            candidate.state, candidate.value = "complete", fmean(values)
            self._study.tell(candidate.asked, candidate.value)

    def _prune(self, candidate: Candidate, trial_id: str) -> None:
        """Give a candidate up. Optuna learns what it reached, and its other trials do not start."""
        candidate.state, candidate.stopped = "pruned", trial_id
        for config in candidate.trials:
            if config in self._waiting:
                self._waiting.remove(config)
                del self._open[config.trial_id]
        step, value = (self._evaluations(trial_id) or [(0, None)])[-1]
        if value is not None:
            candidate.asked.report(value, step)
        self._study.tell(candidate.asked, state=optuna.trial.TrialState.PRUNED)

    def _value(self, config: TrialConfig) -> float | None:
        """The value of a trial; None if it is not complete, or if its metric is not defined."""
        state = self._state(config)
        if state == "diverged":
            return WORST
        if state != "complete":
            return None
        last = self._evaluations(config.trial_id)[-WINDOW:]
        values = [value for _, value in last if value is not None]
        if values and len(values) == len(last):
            return fmean(values)
        missing = f"{self.search.metric} of some evaluations: no validation image of some class" if last else "a row"
        self.without_figure.setdefault(config.trial_id, f"{self.folder / config.trial_id / ROWS} lacks {missing}")
        return None

    def _evaluations(self, trial_id: str) -> list[tuple[int, float | None]]:
        """Step and metric of a trial's evaluations, oldest first; none if the record is damaged, which is noted."""
        self.without_figure.pop(trial_id, None)
        metric = self.search.metric
        try:
            rows: list[dict[str, Any]] = [dict(row) for row in read_history(self.folder / trial_id)]
        except UserError as error:  # damage in one trial's record must not stop the others
            self.without_figure[trial_id] = str(error)
            return []
        for row in rows:
            if not isinstance(row.get("step"), int) or not isinstance(row.get(metric, ""), int | float | None):
                self.without_figure[trial_id] = (
                    f"{self.folder / trial_id}: an evaluation in its history has no step or no {metric}; put the file "
                    "back from a copy, or move that folder away to train the trial again"
                )
                return []
        return [(row["step"], row[metric]) for row in rows]

    def _state(self, config: TrialConfig) -> str | None:
        status = read_status(self.folder / config.trial_id)
        return status["state"] if status else None

    def _keep(self) -> None:
        write_json(self.folder / FILE, self._rows())

    def _rows(self) -> list[CandidateRow]:
        """All candidates as the file has them, by number; those outside the space too."""
        rows: list[CandidateRow] = [
            {
                "number": candidate.number,
                "params": candidate.params,
                "state": candidate.state,
                "value": candidate.value,
                "stopped": candidate.stopped,
                "trials": [trial.trial_id for trial in candidate.trials],
            }
            for candidate in self.candidates
        ]
        return sorted(rows + self.aside, key=lambda row: row["number"])
