"""Runs a sweep with Ray Tune.

A sweep that is run again continues where it stopped. The trials' own records decide what is left to do; Tune's records
are not used.
"""

import contextlib
import datetime
import errno
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from cissl.tuning import cluster  # isort: skip  (sets the environment that Ray is imported in)

import filelock
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cissl import plugins, pretrained
from cissl.atomic_files import write_text
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.record_format import Status
from cissl.training.records import read_history, read_status
from cissl.tuning import state
from cissl.tuning.cluster import Resources
from cissl.tuning.progress import Progress
from cissl.tuning.remote import SweepFolder
from cissl.tuning.search import Study
from cissl.tuning.sweep_file import Sweep
from cissl.tuning.trainable import Job, train, trial_config, tune_config

ALL_COMPLETE, SOME_FAILED, INTERRUPTED = 0, 1, 3  # exit codes; 2 is a user's mistake
RETRIES = 3  # further attempts for a trial that raised an error or whose process died
LOOK_EVERY_S = 5.0  # how often to check that Ray still runs
PATIENCE_S = 15.0  # how long no trial may run before people are told what is missing
KEPT, RUNS = "sweep.yaml", "runs.jsonl"


def run(
    sweep: Sweep,
    storage: str,
    *,
    data_dir: Path | None = None,
    data: Mapping[str, Mapping[str, str]] | None = None,
    arguments: Sequence[str] = (),
) -> int:
    """Run what is left of a sweep.

    Args:
        sweep: what to run.
        storage: folder of all sweeps, or its URI. The sweep's folder is ``<storage>/<name>``, a trial's is
            ``<storage>/<name>/<trial_id>``.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.
        data: split → hashes of its data, see `records.data_hashes`. Trials of other data are refused.
        arguments: words of the command line, for the record and for the hint how to continue.

    Returns:
        The exit code: 0 all trials complete, 1 some failed, 3 interrupted.

    Raises:
        UserError: the machines lack the resources, the folder cannot be written, the cluster does not answer, or trials
            were trained on other data than the current ones.
    """
    results = SweepFolder(storage, sweep.name)
    source, remarks = _trial_source(sweep, results), notes(sweep, results)
    state.check_data(source.trials, results.folder, data or {})
    _announce(sweep, source, results)
    if not source.finished:
        for note in remarks:
            print(note, flush=True)
        try:
            with _machines(sweep) as resources, _alone(results.folder), Interruptible() as interruptible:
                # The process that held the folder until now may have added to it.
                source = _trial_source(sweep, results)
                keep_provenance(sweep, source, results, arguments)
                datasets = {config.spec.name for config in sweep.trials}
                cluster.check_nodes(None if results.remote else results.folder, datasets, data_dir)
                _tune(sweep, source, results, resources, data_dir, interruptible)
        except KeyboardInterrupt:
            return _interrupted(source, results, arguments)
        if isinstance(source, Study):
            state.note_stopped(source.given_up, results.folder)
        results.publish()
    return _conclude(source, results)


class GridTrials:
    """The trials of a sweep without a search, which are known from the start.

    Args:
        sweep: the sweep.
        folder: the sweep's folder.

    Attributes:
        trials: all trials.
        left: those that are not finished.
        finished: whether nothing is left to run.
    """

    def __init__(self, sweep: Sweep, folder: Path):
        self.trials = sweep.trials
        self.left = [config for config in sweep.trials if not state.is_over(config, folder)]
        self.finished = not self.left


TrialSource = GridTrials | Study
"""where trials come from"""


def _trial_source(sweep: Sweep, results: SweepFolder) -> TrialSource:
    with _reading(results.folder):
        return Study(sweep, results.folder) if sweep.search else GridTrials(sweep, results.folder)


@contextlib.contextmanager
def _machines(sweep: Sweep) -> Iterator[Resources]:
    """Ray with its machines; the resources that a trial gets there."""
    local = None if cluster.JOINED or ray.is_initialized() else cluster.local_node()
    if local:
        cluster.fit(sweep, [local])  # if this machine is too small, people learn it before Ray starts
    with cluster.connected(local, dashboard=sweep.resources.workers > 1):
        yield cluster.fit(sweep, cluster.nodes())


def _interrupted(source: TrialSource, results: SweepFolder, arguments: Sequence[str]) -> int:
    """Record that the trials have stopped, and say how to continue."""
    state.note_stopped(source.trials, results.folder)
    results.publish()
    print(f"Interrupted; {state.describe(source.trials, results.folder)}.")
    print(f"To continue: {shlex.join([sys.executable, sys.argv[0], *arguments])}")
    return INTERRUPTED


def _tune(
    sweep: Sweep,
    source: TrialSource,
    results: SweepFolder,
    resources: Resources,
    data_dir: Path | None,
    interruptible: "Interruptible",
) -> None:
    """Run the trials that are left."""
    progress = _progress(sweep, source, results.folder, resources)
    run_trial = partial(train, job=_job(sweep, results, resources, data_dir))
    # The dashboard shows this name for a trial's process. Ray reads it, and types of `partial` do not have it.
    run_trial.__name__ = sweep.name  # type: ignore[attr-defined]
    space: dict[str, Any] = {}
    search: dict[str, Any] = {}
    if isinstance(source, Study):
        search = {"search_alg": Suggestions(source, results), "scheduler": EarlyStopping(source), "num_samples": -1}
    else:
        space = {"trial": tune.grid_search([tune_config(config)["trial"] for config in source.left])}
    tuner = tune.Tuner(
        tune.with_resources(run_trial, cluster.trial_request(resources)),
        param_space=space,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=cluster.concurrency(sweep, resources),
            trial_name_creator=trial_id,
            trial_dirname_creator=trial_id,
            **search,
        ),
        run_config=tune.RunConfig(
            name=sweep.name,
            storage_path=str(results.folder.parent),
            verbose=0,
            callbacks=[Watcher(progress, results, resources, interruptible)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    tuner.fit()
    progress.show(now=True)


def _job(sweep: Sweep, results: SweepFolder, resources: Resources, data_dir: Path | None) -> Job:
    """What all trials of the sweep have in common."""
    return Job(
        sweep=sweep.name,
        folder=results.folder,
        remote=results.remote,
        data_dir=data_dir,
        cpus=resources.cpus,
        gpus=resources.gpus,
        workers=resources.workers,
        loggers=sweep.loggers,
        sources=tuple(plugins.sources(name for config in sweep.trials for name in config.plugins)),
        weights=pretrained.places({config.weights for config in sweep.trials if config.weights}),
    )


class NotSaved:
    """A part of Tune's experiment that Tune saves as empty: nothing here reads Tune's saved state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Suggestions(NotSaved, Searcher):
    """Gives a study's trials to Tune, and tells the study which of them have ended.

    Args:
        study: proposes the trials.
        results: the sweep's folder.
    """

    def __init__(self, study: Study, results: SweepFolder):
        super().__init__()
        self.study, self.results = study, results
        self._handed: dict[str, str] = {}  # Tune's id → ours

    def suggest(  # type: ignore[override]  # Ray's own annotation lacks FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """The next trial, as Tune carries it; FINISHED if there is none."""
        config = self.study.next_trial()
        if config is None:
            return Searcher.FINISHED
        self._handed[trial_id] = config.trial_id
        self.results.publish()
        return tune_config(config)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study that a trial has ended."""
        ours = self._handed[trial_id]
        early = not error and self.results.state(ours) not in (*state.NOT_REPEATED, "failed")
        self.study.ended(ours, early=early)
        self.results.publish()

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study keeps its own records."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a search continues from its own records, and Tune does not call this."""


class EarlyStopping(NotSaved, FIFOScheduler):
    """Stops a trial when the study says so.

    Args:
        study: compares the trials.
    """

    def __init__(self, study: Study):
        super().__init__()  # type: ignore[no-untyped-call]  # Ray gives no types
        self.study = study

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tell the study about an evaluation; whether the trial continues."""
        return self.STOP if self.study.evaluated(trial_id(trial), result) else self.CONTINUE


def trial_id(trial: Any) -> str:
    """Our id of a trial of Tune's."""
    return trial_config(trial.config["trial"]).trial_id


class Watcher(NotSaved, tune.Callback):
    """Tells the progress display what happens in Tune, and looks whether Ray is still alive.

    Args:
        progress: the display.
        results: the sweep's folder.
        resources: what a trial gets.
        interruptible: the sweep's handlers of signals.
    """

    def __init__(self, progress: Progress, results: SweepFolder, resources: Resources, interruptible: "Interruptible"):
        self.progress = progress
        self.interruptible = interruptible
        self.results = results
        self.resources = resources
        self._looked_at = self._active_at = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Install our handlers of signals again, since Tune has just replaced them."""
        if iteration <= 1:
            self.interruptible.listen()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a trial runs."""
        if trial_id(trial) not in self.progress.trials:  # the search has just proposed it
            _add(self.progress, trial_config(trial.config["trial"]), self.results.folder)
        self.progress.start(trial_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show an evaluation."""
        self.progress.evaluated(trial_id(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a trial has ended. One that was stopped early may still be recorded as running."""
        self._finish(trial_id(trial), "stopped")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Show that a trial has failed for good. If its process died, it may still be recorded as running."""
        self._finish(trial_id(trial), "died")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Draw the display, and look now and then whether Ray is alive and what trials wait for.

        Raises:
            KeyboardInterrupt: Ray has died, and the sweep can only be started again.
        """
        self.progress.show()
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            if not cluster.any_alive():
                self.progress.say("Ray's own process has died, perhaps for lack of memory.")
                raise KeyboardInterrupt
            self.progress.waiting = self._what_is_waited_for(trials)

    def _what_is_waited_for(self, trials: list[Any]) -> str | None:
        """What is missing for a trial to start, if no trial has done anything for a while; else None."""
        running = [trial_id(trial) for trial in trials if trial.status == "RUNNING"]
        if running:  # a trial that Tune calls running may wait for its workers
            idle = self.resources.workers > 1 and not self.progress.has_news(running) and cluster.workers_wait()
        else:
            idle = any(trial.status == "PENDING" for trial in trials)
        if not idle:
            self._active_at = time.monotonic()
        idle_s = time.monotonic() - self._active_at
        return cluster.missing(self.resources, anyhow=idle_s > 4 * PATIENCE_S) if idle_s > PATIENCE_S else None

    def _finish(self, trial: str, otherwise: str) -> None:
        recorded = self.results.state(trial) or "failed"
        self.progress.finish(trial, otherwise if recorded == "running" else recorded)


class Interruptible:
    """A context in which Ctrl-C, SIGTERM and SIGUSR1 raise KeyboardInterrupt; a second one ends the process at once.

    Schedulers of clusters and ``ray job stop`` send SIGTERM. Slurm is often told to send SIGUSR1 some time before its
    limit. Tune's own handlers are not enough: they know SIGINT and SIGUSR1 only, and then spend seconds on saving a
    state that nothing here reads. Enter this context after `ray.init`, which installs a handler too.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __enter__(self) -> "Interruptible":
        self._before = self.listen()
        return self

    def listen(self) -> dict[int, Any]:
        """Install the handlers; returns the handlers that they replace, by signal."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._stop) for number in self.SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for known in self.SIGNALS:
            signal.signal(known, signal.SIG_DFL)
        print("\nInterrupted: stopping the trials (again to stop at once) …", flush=True)
        raise KeyboardInterrupt


def _progress(sweep: Sweep, source: TrialSource, folder: Path, resources: Resources) -> Progress:
    """The display, with what earlier runs have done."""
    devices = (resources.workers * (resources.gpus or resources.cpus), "GPU" if resources.gpus else "CPU")
    total = len(source.trials)
    if isinstance(source, Study):
        total = max(total, source.search.trials * sweep.grid_size)
    progress = Progress(total, devices)
    for config in source.trials:
        _add(progress, config, folder)
    return progress


def _add(progress: Progress, config: TrialConfig, folder: Path) -> None:
    """Add a trial to the display, with what earlier runs have done."""
    status: Status = read_status(folder / config.trial_id) or {"state": "new"}
    try:
        history = read_history(folder / config.trial_id)
    except UserError as error:  # only the display needs it here: damage in one trial must not stop the others
        progress.say(f"note: {error}")
        history = []
    progress.add(
        config,
        step=status.get("step", 0),
        seconds=status.get("seconds", 0.0),
        state=status["state"] if state.is_over(config, folder) else "pending",
        row=history[-1] if history else None,
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Locks a sweep's folder, so that no second process trains the same trials. The lock ends with the process."""
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held = filelock.FileLock(folder / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"{folder} is in use: another process runs this sweep now") from None
    with held:
        yield


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns errors of writing into a `UserError` that says what people can do."""
    try:
        yield
    except filelock.Timeout:
        raise
    except OSError as error:
        room = "make room, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        words = error.strerror or error
        raise UserError(f"{folder}: cannot be written: {words}; {room}choose another --storage-path") from None


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turns errors of reading into a `UserError` that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from None


def _announce(sweep: Sweep, source: TrialSource, results: SweepFolder) -> None:
    if isinstance(source, Study):
        print(f"{sweep.name}: a search in {results}\n{state.describe_search(source)}", flush=True)
    else:
        print(f"{sweep.name}: {state.describe(source.trials, results.folder)}, in {results}", flush=True)


def notes(sweep: Sweep, results: SweepFolder) -> list[str]:
    """Notes for the person who starts this sweep.

    Args:
        sweep: what to run.
        results: the sweep's folder.

    Raises:
        UserError: records of the last run cannot be read.
    """
    found = []
    with _reading(results.folder):
        file, last = str(sweep.path.absolute()), _last_run(results.folder).get("file")
        changed = _text(results.folder / KEPT) != sweep.source.text()
    if last not in (None, file) and changed:
        found.append(
            f"note: this folder was last run from {last}, and now from {file}; if these are two sweeps, give each a "
            "name of its own, else their trials lie in one folder and one table"
        )
    if not cluster.JOINED and not ray.is_initialized() and (head := cluster.running_head()):
        found.append(
            "note: a Ray cluster runs on this machine, and RAY_ADDRESS is not set: the sweep starts a Ray of its own "
            f"beside it; to join the cluster: RAY_ADDRESS={head}"
        )
    return found


def _last_run(folder: Path) -> dict[str, Any]:
    """What `keep_provenance` recorded the last time; empty if there is no intact record."""
    try:
        row = json.loads(_text(folder / RUNS).splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return row if isinstance(row, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _conclude(source: TrialSource, results: SweepFolder) -> int:
    """Say how the sweep ended; returns the exit code."""
    trials = source.trials
    if isinstance(source, Study):
        print(state.describe_search(source))
        judged = [candidate for candidate in source.candidates if candidate.state != "pruned"]
        trials = [config for candidate in judged for config in candidate.trials]
    failures = state.failures(trials, results.folder)
    damaged = state.damaged(trials, results.folder)
    print(f"{len(trials) - len(failures)} of {len(trials)} trials complete.", *failures, *damaged, sep="\n")
    print(f"The table: {state.table_command(str(results), search=isinstance(source, Study))}")
    return SOME_FAILED if failures else ALL_COMPLETE


def keep_provenance(sweep: Sweep, source: TrialSource, results: SweepFolder, arguments: Sequence[str]) -> None:
    """Record what is run: the sweep file, and one line for each run.

    Args:
        sweep: what to run.
        source: its trials.
        results: the sweep's folder.
        arguments: words of the command line.

    Raises:
        UserError: the folder cannot be written.
    """
    row = {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017
        "file": str(sweep.path.absolute()),
        "arguments": list(arguments),
        "trials": [config.trial_id for config in source.trials],
    }
    with _writing(results.folder):
        write_text(results.folder / KEPT, sweep.source.text())
        with open(results.folder / RUNS, "a") as file:
            file.write(json.dumps(row) + "\n")
    results.publish()
