"""Runs a sweep with Ray Tune.

Running it again goes on where it stopped: the trials' own records decide what is left to do, never Tune's.
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
from typing import Any, Protocol

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
from cissl.training.records import read_history, read_status
from cissl.tuning import state
from cissl.tuning.progress import Progress
from cissl.tuning.remote import SweepFolder
from cissl.tuning.search import Study
from cissl.tuning.sweep_file import Resources, Sweep
from cissl.tuning.trainable import Job, train, trial_config, tune_config

ALL_COMPLETE, SOME_FAILED, INTERRUPTED = 0, 1, 3  # exit codes; 2 is a user's mistake
RETRIES = 3  # fresh processes for a trial that raised or whose process died
LOOK_EVERY_S = 5.0  # whether Ray is still there
PATIENCE_S = 15.0  # with a trial that does not start, before people are told what it waits for
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
        storage: folder of all sweeps, or its URI; this one gets ``<storage>/<name>``, each trial
            ``<storage>/<name>/<trial_id>``.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.
        data: of each split, what its data are known by (`records.data_hashes`); trials of other data are refused.
        arguments: of the command line, for the record and for the advice how to continue.

    Returns:
        The exit code: 0 all trials complete, 1 some failed, 3 interrupted.

    Raises:
        UserError: the resources do not exist, the folder cannot be written, the cluster cannot be reached, or trials
            were trained on other data than there are now.
    """
    results = SweepFolder(storage, sweep.name)
    source, remarks = _trial_source(sweep, results), notes(sweep, results)
    state.check_data(source.trials, results.folder, data or {})
    _announce(sweep, source, results)
    if not source.finished:
        for note in remarks:
            print(note, flush=True)
        local = None if cluster.JOINED or ray.is_initialized() else cluster.local_node()
        if local:
            cluster.fit(sweep, [local])  # refused before Ray takes its seconds to start
        try:
            with cluster.connected(local, dashboard=sweep.resources.workers > 1):
                resources = cluster.fit(sweep, cluster.nodes())
                with _alone(results.folder), Interruptible() as interruptible:
                    # A process that has just let go of the folder may have added to it.
                    source = _trial_source(sweep, results)
                    keep_provenance(sweep, source, results, arguments)
                    datasets = {config.spec.name for config in sweep.trials}
                    cluster.check_nodes(None if results.remote else results.folder, datasets, data_dir)
                    _tune(sweep, source, results, resources, data_dir, interruptible)
        except KeyboardInterrupt:
            state.note_stopped(source.trials, results.folder)
            results.publish()
            print(f"Interrupted; {state.describe(source.trials, results.folder)}.")
            print(f"To continue: {shlex.join([sys.executable, sys.argv[0], *arguments])}")
            return INTERRUPTED
        if isinstance(source, Study):
            state.note_stopped(source.given_up, results.folder)
        results.publish()
    return _conclude(source, results)


def _trial_source(sweep: Sweep, results: SweepFolder) -> "TrialSource":
    with _reading(results.folder):
        return Study(sweep, results.folder) if sweep.search else GridTrials(sweep, results.folder)


class TrialSource(Protocol):
    """Where trials come from: a grid, or a search."""

    trials: Sequence[TrialConfig]
    """those that are known"""
    finished: bool
    """nothing is left to run"""


class GridTrials:
    """Trials that are known from the start."""

    def __init__(self, sweep: Sweep, folder: Path):
        self.trials = sweep.trials
        self.left = [config for config in sweep.trials if not state.is_over(config, folder)]
        self.finished = not self.left


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
    job = Job(
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
    run_trial = partial(train, job=job)
    run_trial.__name__ = sweep.name  # what the dashboard calls the processes, each of which runs many trials
    space, search = ({}, _search(source, results)) if isinstance(source, Study) else (_grid(source), {})
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


def _grid(source: GridTrials) -> dict[str, Any]:
    return {"trial": tune.grid_search([tune_config(config)["trial"] for config in source.left])}


def _search(study: Study, results: SweepFolder) -> dict[str, Any]:
    return {"search_alg": Suggestions(study, results), "scheduler": EarlyStopping(study), "num_samples": -1}


class NotSaved:
    """Part of Tune's experiment that its saved state, which nothing here reads, goes without."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Suggestions(NotSaved, Searcher):
    """Hands a study's trials to Tune, and tells the study which of them have ended."""

    def __init__(self, study: Study, results: SweepFolder):
        super().__init__()
        self.study, self.results = study, results
        self._handed: dict[str, str] = {}  # Tune's id → ours

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        config = self.study.next_trial()
        if config is None:
            return Searcher.FINISHED
        self._handed[trial_id] = config.trial_id
        self.results.publish()
        return tune_config(config)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        ours = self._handed[trial_id]
        early = not error and self.results.status(ours).get("state") not in (*state.NOT_REPEATED, "failed")
        self.study.ended(ours, early=early)
        self.results.publish()

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study keeps itself."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: a search goes on from its own records."""


class EarlyStopping(NotSaved, FIFOScheduler):
    """Stops a trial where the study says so."""

    def __init__(self, study: Study):
        super().__init__()
        self.study = study

    def on_trial_result(self, controller: Any, trial: Any, result: dict) -> str:
        return self.STOP if self.study.evaluated(trial_id(trial), result) else self.CONTINUE


def trial_id(trial: Any) -> str:
    """The id of one of our trials, from one of Tune's."""
    return trial_config(trial.config["trial"]).trial_id


class Watcher(NotSaved, tune.Callback):
    """Passes what happens in Tune on to the progress display."""

    def __init__(self, progress: Progress, results: SweepFolder, resources: Resources, interruptible: "Interruptible"):
        self.progress = progress
        self.interruptible = interruptible
        self.results = results
        self.resources = resources
        self._looked_at = self._active_at = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        if iteration <= 1:
            self.interruptible.listen()  # Tune has just put a handler of its own in our place

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if trial_id(trial) not in self.progress.trials:  # the search has just made it
            _add(self.progress, trial_config(trial.config["trial"]), self.results.folder)
        self.progress.start(trial_id(trial))

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self.progress.evaluated(trial_id(trial), result)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._finish(trial_id(trial), "stopped")  # early, if it has not yet said so itself

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._finish(trial_id(trial), "died")

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.progress.show()
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            if not cluster.any_alive():
                self.progress.say("Ray's own process has died, perhaps for want of memory.")
                raise KeyboardInterrupt  # nothing but starting again helps
            self.progress.waiting = self._what_is_waited_for(trials)

    def _what_is_waited_for(self, trials: list) -> str | None:
        """What would let a trial start, where none has done anything for a while; None where that is not so."""
        running = [trial_id(trial) for trial in trials if trial.status == "RUNNING"]
        if running:  # what Tune calls running may wait for its workers
            idle = self.resources.workers > 1 and not self.progress.has_news(running) and cluster.workers_wait()
        else:
            idle = any(trial.status == "PENDING" for trial in trials)
        if not idle:
            self._active_at = time.monotonic()
        idle_s = time.monotonic() - self._active_at
        return cluster.missing(self.resources, anyhow=idle_s > 4 * PATIENCE_S) if idle_s > PATIENCE_S else None

    def _finish(self, trial: str, otherwise: str) -> None:
        recorded = self.results.status(trial).get("state", "failed")
        self.progress.finish(trial, otherwise if recorded == "running" else recorded)


class Interruptible:
    """Makes Ctrl-C, SIGTERM and SIGUSR1 raise KeyboardInterrupt; a second one ends the process at once.

    SIGTERM is what a cluster's scheduler and ``ray job stop`` send, SIGUSR1 what Slurm is often told to send some time
    before its limit. Left to itself Tune ends in good order on SIGINT and SIGUSR1 alone, and spends seconds on saving a
    state that nothing here reads. To be entered after `ray.init`, which installs a handler of its own.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __enter__(self) -> "Interruptible":
        self._before = self.listen()
        return self

    def listen(self) -> dict[int, Any]:
        """Install the handlers; those that were there before."""
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
    devices = (resources.workers * (resources.gpus or resources.cpus), "GPU" if resources.gpus else "CPU")
    total = len(source.trials)
    if isinstance(source, Study):
        total = max(total, source.search.trials * sweep.grid_size)
    progress = Progress(total, devices)
    for config in source.trials:
        _add(progress, config, folder)
    return progress


def _add(progress: Progress, config: TrialConfig, folder: Path) -> None:
    status = read_status(folder / config.trial_id) or {}
    try:
        history = read_history(folder / config.trial_id)
    except UserError as error:  # the display alone reads it here: one trial's damage stops no other trial
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
    """Holds a sweep's folder, so that no second process trains the same trials; a process that dies lets go of it."""
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
    """Makes a folder that cannot be written, or a full disk, a mistake that people can mend."""
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
    """Makes records that cannot be read a mistake that people can mend."""
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
    """What somebody should know who starts this sweep, beside how far it is."""
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
    """What `keep_provenance` noted the last time; empty where there is nothing, or nothing that can be read."""
    try:
        row = json.loads(_text(folder / RUNS).splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return row if isinstance(row, dict) else {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _conclude(source: TrialSource, results: SweepFolder) -> int:
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
    """Keep what was run, as a sweep file, and one line for each time that it was."""
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
