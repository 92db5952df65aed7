"""What people see while a sweep runs: a live table in a terminal, sparse plain lines in a job log."""

import collections
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from cissl.config import TrialConfig
from cissl.errors import accept_any_text

REDRAW_S = 0.2  # terminal
LOG_EVERY_S, LOG_AT_MOST_EVERY_S = 10.0, 300.0  # job log: from the one to the other as the sweep gets older
RUNNING_SHOWN = 8
SETTINGS_SHOWN = 3  # of those in which trials of one name differ; with more the hash stands behind them
BAR = 30  # characters at most, as the terminal's width allows


@dataclasses.dataclass
class TrialProgress:
    """One trial, as far as the driver knows."""

    config: TrialConfig
    step: int = 0
    first_step: int = 0
    """where this run took it up"""
    seconds: float = 0.0
    """training time, of earlier runs too"""
    first_seconds: float = 0.0
    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    """the newest evaluation"""
    state: str = "pending"
    spent: float = 0.0
    """seconds of this run, those before a checkpoint was gone back to included"""

    @property
    def steps(self) -> int:
        return self.config.steps

    @property
    def kind(self) -> tuple[str, str, int]:
        """Trials that cost about the same for each step."""
        return self.config.algorithm, self.config.spec.name, self.config.batch

    @property
    def seconds_per_step(self) -> float | None:
        """Measured in this run; None before its first evaluation."""
        done = self.step - self.first_step
        return (self.seconds - self.first_seconds) / done if done > 0 else None


class Progress:
    """Keeps count of a sweep's trials and shows it.

    Args:
        total: trials of the whole sweep; a search does not know all of them yet.
        devices: what one running trial occupies, as (number, unit), such as (1, "CPU").
        stream: where to write; a terminal is redrawn, anything else gets plain lines.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        total: int,
        devices: tuple[float, str],
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total = total
        self.devices = devices
        self.stream = stream or sys.stdout
        accept_any_text(self.stream)
        self.clock = clock
        self.live = self.stream.isatty() and os.environ.get("TERM", "") != "dumb"
        self.trials: dict[str, TrialProgress] = {}
        self.waiting: str | None = None
        """what has to become free before a trial can start, where none can"""
        self.began = clock()
        self._most_running = 1
        self._names: dict[str, str] = {}  # of the trials made known
        self._drawn = 0  # lines on the terminal that the next drawing replaces
        self._shown_at = -float("inf") if self.live else self.began
        self._estimate: tuple[float, float] | None = None  # (seconds left, when that was estimated)

    def add(
        self,
        config: TrialConfig,
        *,
        step: int = 0,
        seconds: float = 0.0,
        state: str = "pending",
        row: dict[str, Any] | None = None,
    ) -> None:
        """Make a trial known, with what earlier runs have done of it."""
        self.trials[config.trial_id] = TrialProgress(config, step, step, seconds, seconds, row or {}, state)

    def start(self, trial_id: str) -> None:
        self.trials[trial_id].state = "running"
        self._most_running = max(self._most_running, len(self._running()))
        self.show()

    def evaluated(self, trial_id: str, row: dict[str, Any]) -> None:
        trial = self.trials[trial_id]
        if row["step"] > trial.step and row["seconds"] > trial.seconds:
            trial.spent += row["seconds"] - trial.seconds
        else:  # it went back to a checkpoint, whose clock goes on
            trial.first_step, trial.first_seconds = row["step"], row["seconds"]
        trial.step, trial.seconds, trial.row = row["step"], row["seconds"], row
        self._estimate = None
        self.show()

    def finish(self, trial_id: str, state: str) -> None:
        """Note that a trial has ended, in a line that stays."""
        trial = self.trials[trial_id]
        trial.state = state
        self._estimate = None
        self.say(f"{state:8s}  {self._name(trial)}  {_scores(trial.row)}  in {duration(trial.seconds)}")
        self.show()

    def has_news(self, trial_ids: Iterable[str]) -> bool:
        """Whether one of these trials has been evaluated in this run."""
        return any(self.trials[trial_id].step > self.trials[trial_id].first_step for trial_id in trial_ids)

    def say(self, line: str) -> None:
        """Print a line above the live table."""
        self.clear()
        print(line, file=self.stream, flush=True)

    def show(self, *, now: bool = False) -> None:
        """Draw the present state, unless that was done a moment ago."""
        age = self.clock() - self.began
        pause = REDRAW_S if self.live else min(max(LOG_EVERY_S, age / 50), LOG_AT_MOST_EVERY_S)
        if not now and self.clock() - self._shown_at < pause:
            return
        self._shown_at = self.clock()
        waiting = [f"  waiting for {self.waiting}"] if self.waiting else []
        lines = [*self._table(), *waiting, self._summary()]
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            lines[-1] = self._bar(width - len(lines[-1])) + lines[-1]
            lines = [line[:width] for line in lines]
        self.clear()
        print("\n".join(lines), file=self.stream, flush=True)
        self._drawn = len(lines) if self.live else 0

    def clear(self) -> None:
        """Take the live table off the terminal."""
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _running(self) -> list[TrialProgress]:
        return [trial for trial in self.trials.values() if trial.state == "running"]

    def _table(self) -> list[str]:
        running = self._running()
        shown = running[:RUNNING_SHOWN]
        rows = [
            f"  {self._name(trial)}  {_scores(trial.row)}  "
            f"step {trial.step:>{len(str(trial.steps))}}/{trial.steps}{_left(cost)}"
            for trial, cost in zip(shown, self._costs(shown), strict=True)
        ]
        more = len(running) - RUNNING_SHOWN
        return rows + [f"  … and {more} more"] * (more > 0)

    def _summary(self) -> str:
        done = sum(trial.state == "complete" for trial in self.trials.values())
        number, unit = self.devices
        used = number * sum(trial.spent for trial in self.trials.values()) / 3600
        return (
            f"{self._share():4.0%}  {done}/{self.total} trials complete  {duration(self.clock() - self.began)} so far"
            f"{_left(self._seconds_left())}  {used:.2f} {unit}-hours"
        )

    def _bar(self, room: int) -> str:
        """A progress bar of at most so many characters; none where it would be too short to tell anything."""
        length = min(room - 3, BAR)
        filled = round(self._share() * length)
        return f"[{'#' * filled}{'-' * (length - filled)}] " if length >= BAR // 4 else ""

    def _share(self) -> float:
        """How much of all steps is done, trials that a search has yet to make included."""
        steps = sum(trial.steps for trial in self.trials.values()) * max(1.0, self.total / max(1, len(self.trials)))
        return sum(trial.step for trial in self.trials.values()) / max(1.0, steps)

    def _costs(self, trials: Iterable[TrialProgress]) -> list[float | None]:
        """Seconds that each of these trials still needs, by its own pace or else the mean of its kind's, or of all."""
        paces: dict[Any, list[float]] = collections.defaultdict(list)
        for trial in self.trials.values():
            if trial.seconds_per_step is not None:
                paces[trial.kind].append(trial.seconds_per_step)
                paces[None].append(trial.seconds_per_step)
        means = {kind: sum(measured) / len(measured) for kind, measured in paces.items()}
        costs = []
        for trial in trials:
            pace = trial.seconds_per_step or means.get(trial.kind) or means.get(None)
            costs.append(None if pace is None else pace * (trial.steps - trial.step))
        return costs

    def _seconds_left(self) -> float | None:
        if self._estimate is None:
            costs = self._costs(trial for trial in self.trials.values() if trial.state in ("pending", "running"))
            if not costs or None in costs:
                return None
            unknown = (self.total - len(self.trials)) * sum(costs) / len(costs)
            spread = (sum(costs) + unknown) / min(self._most_running, max(1, len(costs)))
            self._estimate = (max(spread, *costs), self.clock())
        seconds, when = self._estimate
        return max(0.0, seconds - (self.clock() - when))

    def _name(self, trial: TrialProgress) -> str:
        """The trial's name, and of several of one name what tells them apart; all equally long."""
        if self._names.keys() != self.trials.keys():
            self._names = _names([known.config for known in self.trials.values()])
        return self._names[trial.config.trial_id].ljust(max(map(len, self._names.values())))


def _names(configs: Iterable[TrialConfig]) -> dict[str, str]:
    """Trial id → name, such as ``fixmatch-digits_LT_20-s1 lr=0.03``, with the settings that trials of it differ in."""
    groups: dict[str, list[TrialConfig]] = collections.defaultdict(list)
    for config in configs:
        groups[config.name].append(config)
    return {name: words for group in groups.values() for name, words in _told_apart(group).items()}


def _told_apart(group: list[TrialConfig]) -> dict[str, str]:
    """Trial id → name, of trials of one name."""
    settings = {config.trial_id: config.to_dict() for config in group}
    keys = dict.fromkeys(key for values in settings.values() for key in values)
    differing = [key for key in keys if len({str(values.get(key)) for values in settings.values()}) > 1]
    names = {}
    for config in group:
        words = [f"{key}={_short(settings[config.trial_id].get(key))}" for key in differing[:SETTINGS_SHOWN]]
        whole = len(differing) <= SETTINGS_SHOWN and (differing or len(group) == 1)
        names[config.trial_id] = " ".join([config.name, *words, *([] if whole else [config.hash])])
    return names


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """1:02:03 or 4:05."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"  {duration(seconds)} left"


def _scores(row: dict[str, Any]) -> str:
    def shown(key: str) -> str:
        return "   –" if row.get(key) is None else f"{row[key]:5.1f}"

    return f"acc {shown('accuracy'):>5s}  gmean {shown('gmean'):>5s}"
