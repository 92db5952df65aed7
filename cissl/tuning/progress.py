"""Shows people how a sweep proceeds: a live table in a terminal, a few plain lines in a job's log."""

import collections
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from cissl.config import TrialConfig
from cissl.errors import accept_any_text

REDRAW_S = 0.2  # shortest time between two drawings in a terminal
LOG_EVERY_S, LOG_AT_MOST_EVERY_S = 10.0, 300.0  # time between two lines of a log; it grows with the sweep's age
RUNNING_SHOWN = 8
SETTINGS_SHOWN = 3  # that tell trials of one name apart; if more settings differ, the hash follows
BAR = 30  # most characters of the progress bar; a narrow terminal gets fewer


@dataclasses.dataclass
class TrialProgress:
    """One trial, as far as the driver knows.

    Attributes:
        config: the trial's settings.
        step: step of its newest evaluation.
        first_step: the step at which this run started it.
        seconds: its training time in seconds, earlier runs included.
        first_seconds: training time at `first_step`.
        row: its newest evaluation; empty before the first one.
        state: pending, running, or how it ended, see `records.write_status`.
        spent: seconds of this run, steps that were lost with a crash included.
    """

    config: TrialConfig
    step: int = 0
    first_step: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0
    row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    state: str = "pending"
    spent: float = 0.0

    @property
    def steps(self) -> int:
        """Optimizer updates of the whole training."""
        return self.config.steps

    @property
    def kind(self) -> tuple[str, str, int]:
        """Equal for trials whose steps take about the same time."""
        return self.config.algorithm, self.config.spec.name, self.config.batch

    @property
    def seconds_per_step(self) -> float | None:
        """Seconds for each step, measured in this run; None before its first evaluation."""
        done = self.step - self.first_step
        return (self.seconds - self.first_seconds) / done if done > 0 else None


class Progress:
    """Keeps the state of a sweep's trials and shows it.

    Args:
        total: number of trials of the whole sweep; a search has not proposed all of them yet.
        devices: what one running trial occupies, as (number, unit), such as (1, "CPU").
        stream: where to write, by default stdout. A terminal is redrawn, anything else gets plain lines.
        clock: the time in seconds; tests give their own.

    Attributes:
        trials: trial id → what is known about it.
        waiting: what must become free before a trial can start; None if trials run.
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
        self.began = clock()
        self._most_running = 1
        self._names: dict[str, str] = {}  # trial id → name, of the known trials
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
        row: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a trial, with what earlier runs have done.

        Args:
            config: the trial's settings.
            step: optimizer updates made.
            seconds: training time in seconds.
            state: pending, or how the trial ended.
            row: its newest evaluation.
        """
        self.trials[config.trial_id] = TrialProgress(config, step, step, seconds, seconds, row or {}, state)

    def start(self, trial_id: str) -> None:
        """Note that a trial runs."""
        self.trials[trial_id].state = "running"
        self._most_running = max(self._most_running, len(self._running()))
        self.show()

    def evaluated(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """Note an evaluation of a trial."""
        trial = self.trials[trial_id]
        if row["step"] > trial.step and row["seconds"] > trial.seconds:
            trial.spent += row["seconds"] - trial.seconds
        else:  # it resumed from a checkpoint, and its clock did too
            trial.first_step, trial.first_seconds = row["step"], row["seconds"]
        trial.step, trial.seconds, trial.row = row["step"], row["seconds"], row
        self._estimate = None
        self.show()

    def finish(self, trial_id: str, state: str) -> None:
        """Note that a trial has ended, and print a line about it."""
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
        """Draw the current state, unless that was done a moment ago.

        Args:
            now: draw it in any case.
        """
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
        """Remove the live table from the terminal."""
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
        """A progress bar of at most `room` characters; empty if it would be too short to read."""
        length = min(room - 3, BAR)
        filled = round(self._share() * length)
        return f"[{'#' * filled}{'-' * (length - filled)}] " if length >= BAR // 4 else ""

    def _share(self) -> float:
        """The share of all steps that is done. Trials that a search has not proposed yet are counted too."""
        steps = sum(trial.steps for trial in self.trials.values()) * max(1.0, self.total / max(1, len(self.trials)))
        return sum(trial.step for trial in self.trials.values()) / max(1.0, steps)

    def _costs(self, trials: Iterable[TrialProgress]) -> list[float | None]:
        """Seconds that each trial still needs; None if that is not known.

        They are estimated by the trial's own pace, else by the mean of its kind, else by the mean of all trials.
        """
        paces: dict[Any, list[float]] = collections.defaultdict(list)
        for trial in self.trials.values():
            if trial.seconds_per_step is not None:
                paces[trial.kind].append(trial.seconds_per_step)
                paces[None].append(trial.seconds_per_step)
        means = {kind: sum(measured) / len(measured) for kind, measured in paces.items()}
        costs: list[float | None] = []
        for trial in trials:
            pace = trial.seconds_per_step or means.get(trial.kind) or means.get(None)
            costs.append(None if pace is None else pace * (trial.steps - trial.step))
        return costs

    def _seconds_left(self) -> float | None:
        """Seconds until the sweep is complete; None if that is not known."""
        if self._estimate is None:
            left = [trial for trial in self.trials.values() if trial.state in ("pending", "running")]
            costs = [cost for cost in self._costs(left) if cost is not None]
            if not left or len(costs) < len(left):
                return None
            unknown = (self.total - len(self.trials)) * sum(costs) / len(costs)
            spread = (sum(costs) + unknown) / min(self._most_running, max(1, len(costs)))
            self._estimate = (max(spread, *costs), self.clock())
        seconds, when = self._estimate
        return max(0.0, seconds - (self.clock() - when))

    def _name(self, trial: TrialProgress) -> str:
        """The trial's name, padded to the longest one. Settings follow it where several trials have one name."""
        if self._names.keys() != self.trials.keys():
            self._names = _names([known.config for known in self.trials.values()])
        return self._names[trial.config.trial_id].ljust(max(map(len, self._names.values())))


def _names(configs: Iterable[TrialConfig]) -> dict[str, str]:
    """Trial id → name, such as ``fixmatch-digits_LT_20-s1 lr=0.03``, with settings that tell equal names apart."""
    groups: dict[str, list[TrialConfig]] = collections.defaultdict(list)
    for config in configs:
        groups[config.name].append(config)
    return {name: words for group in groups.values() for name, words in _told_apart(group).items()}


def _told_apart(group: list[TrialConfig]) -> dict[str, str]:
    """Trial id → name with settings, for trials that have one name."""
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
    """A time as ``1:02:03`` or ``4:05``, in hours, minutes and seconds."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"  {duration(seconds)} left"


def _scores(row: Mapping[str, Any]) -> str:
    def shown(key: str) -> str:
        return "   –" if row.get(key) is None else f"{row[key]:5.1f}"

    return f"acc {shown('accuracy'):>5s}  gmean {shown('gmean'):>5s}"
