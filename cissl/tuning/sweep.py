"""Runs a sweep with Ray Tune.

Running it again goes on where it stopped: the trials' own records decide what is left to do, never Tune's.
"""

import datetime
import json
import shlex
import signal
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from cissl.tuning import cluster  # isort: skip  (sets the environment that Ray is imported in)

import ray
from ray import tune

from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training.files import write_text
from cissl.training.records import read_history, read_status, write_status
from cissl.tuning.progress import Progress
from cissl.tuning.sweep_file import Resources, Sweep
from cissl.tuning.trainable import Job, train

ALL_COMPLETE, SOME_FAILED, INTERRUPTED = 0, 1, 3  # exit codes; 2 is a user's mistake
RETRIES = 3  # fresh processes for a trial that raised or whose process died
NOT_REPEATED = ("complete", "diverged")  # running such a trial again would change nothing


def run(sweep: Sweep, storage: Path, *, data_dir: Path | None = None, arguments: Sequence[str] = ()) -> int:
    """Run what is left of a sweep.

    Args:
        sweep: what to run.
        storage: folder of all sweeps; this one gets ``<storage>/<name>``, each trial ``<storage>/<name>/<trial_id>``.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.
        arguments: of the command line, for the record and for the advice how to continue.

    Returns:
        The exit code: 0 all trials complete, 1 some failed, 3 interrupted.

    Raises:
        UserError: the resources do not exist, the folder cannot be written, or the cluster cannot be reached.
    """
    folder = storage / sweep.name
    left = [config for config in sweep.trials if _state(folder, config) not in NOT_REPEATED]
    print(f"{sweep.name}: {describe(sweep.trials, folder)}, in {folder}", flush=True)
    if left:
        local = None if cluster.JOINED or ray.is_initialized() else cluster.local_node()
        if local:
            cluster.fit(sweep, [local])  # refused before Ray takes its seconds to start
        _keep_provenance(sweep, folder, arguments)
        try:
            with cluster.connected(local), Interruptible():
                _tune(sweep, folder, left, cluster.fit(sweep, cluster.nodes()), data_dir)
        except KeyboardInterrupt:
            _note_stopped(left, folder)
            print(
                f"Interrupted; {describe(sweep.trials, folder)}.\n"
                f"To continue: python sweeps/run.py {shlex.join(arguments)}"
            )
            return INTERRUPTED
    return conclude(sweep.trials, folder)


def describe(trials: Sequence[TrialConfig], folder: Path) -> str:
    """How far a sweep is: ``18 trials: 5 complete, 1 continues at step 320/800, 12 new``."""
    states = [(config, read_status(folder / config.trial_id)) for config in trials]
    new = sum(status is None for _, status in states)
    groups: dict[str, list[str]] = {"complete": [], "diverged": [], "failed": [], "stopped": []}
    for config, status in states:
        if status:
            state = status["state"] if status["state"] in groups else "stopped"  # "running", but not in this process
            groups[state].append(f"{status['step']}/{config.steps}")
    steps = ", ".join(groups["stopped"][:3]) + (", …" if len(groups["stopped"]) > 3 else "")
    parts = [
        (len(groups["complete"]), "complete"),
        (len(groups["diverged"]), "diverged (not repeated)"),
        (len(groups["failed"]), "failed and tried again"),
        (len(groups["stopped"]), f"{'continues' if len(groups['stopped']) == 1 else 'continue'} at step {steps}"),
        (new, "new"),
    ]
    return f"{len(trials)} trials: " + ", ".join(f"{count} {words}" for count, words in parts if count)


def conclude(trials: Sequence[TrialConfig], folder: Path) -> int:
    """Say how the sweep ended, with the failures and where to read about them, and how to see the table."""
    unfinished = [(config, read_status(folder / config.trial_id) or {}) for config in trials]
    unfinished = [(config, status) for config, status in unfinished if status.get("state") != "complete"]
    print(f"{len(trials) - len(unfinished)} of {len(trials)} trials complete.")
    for config, status in unfinished:
        state = {"running": "died", None: "never started"}.get(status.get("state"), status.get("state"))
        reason = (
            (status.get("error") or "its process ended without a word, perhaps for lack of memory")
            .strip()
            .splitlines()[-1]
        )
        print(
            f"{state}: {config.name} at step {status.get('step', 0)}/{config.steps}: {reason}\n"
            f"    {folder / config.trial_id / 'status.json'}"
        )
    print(f"The table: python analysis/tables.py {shlex.quote(str(folder))}")
    return SOME_FAILED if unfinished else ALL_COMPLETE


def _tune(sweep: Sweep, folder: Path, left: Sequence[TrialConfig], resources: Resources, data_dir: Path | None) -> None:
    """Run the trials that are left."""
    progress = _progress(sweep, folder, resources)
    job = Job(
        sweep=sweep.name,
        folder=folder,
        data_dir=data_dir,
        cpus=resources.cpus,
        gpus=resources.gpus,
        workers=resources.workers,
    )
    tuner = tune.Tuner(
        tune.with_resources(partial(train, job=job), {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"trial": tune.grid_search([config.to_dict() for config in left])},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=sweep.concurrency,
            trial_name_creator=trial_id,
            trial_dirname_creator=trial_id,
        ),
        run_config=tune.RunConfig(
            name=sweep.name,
            storage_path=str(folder.parent),
            verbose=0,
            callbacks=[Watcher(progress, folder)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    tuner.fit()
    progress.show(now=True)


def trial_id(trial: Any) -> str:
    """The id of one of our trials, from one of Tune's."""
    return TrialConfig.from_mapping(trial.config["trial"]).trial_id


class Watcher(tune.Callback):
    """Passes what happens in Tune on to the progress display."""

    def __init__(self, progress: Progress, folder: Path):
        self.progress = progress
        self.folder = folder

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self.progress.start(trial_id(trial))

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self.progress.evaluated(trial_id(trial), result)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._finish(trial_id(trial))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._finish(trial_id(trial))

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        self.progress.show()

    def _finish(self, trial: str) -> None:
        state = (read_status(self.folder / trial) or {}).get("state", "failed")
        self.progress.finish(trial, "died" if state == "running" else state)


class Interruptible:
    """Makes Ctrl-C and SIGTERM raise KeyboardInterrupt; a second one ends the process at once.

    SIGTERM is what a cluster's scheduler and ``ray job stop`` send. Left to itself Tune ends in good order on SIGINT
    alone, and spends seconds on saving a state that nothing here reads. To be entered after `ray.init`, which installs
    a handler of its own.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> None:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in self.SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for known in self.SIGNALS:
            signal.signal(known, signal.SIG_DFL)
        print("\nInterrupted: stopping the trials (again to stop at once) …", flush=True)
        raise KeyboardInterrupt


def _progress(sweep: Sweep, folder: Path, resources: Resources) -> Progress:
    devices = (resources.workers * (resources.gpus or resources.cpus), "GPU" if resources.gpus else "CPU")
    progress = Progress(len(sweep.trials), devices)
    for config in sweep.trials:
        status = read_status(folder / config.trial_id) or {}
        state = status.get("state") if status.get("state") in NOT_REPEATED else "pending"
        history = read_history(folder / config.trial_id)
        progress.add(
            config,
            step=status.get("step", 0),
            seconds=status.get("seconds", 0.0),
            state=state,
            row=history[-1] if history else None,
        )
    return progress


def _state(folder: Path, config: TrialConfig) -> str | None:
    return (read_status(folder / config.trial_id) or {}).get("state")


def _note_stopped(trials: Sequence[TrialConfig], folder: Path) -> None:
    """Mend the status of trials whose processes were ended before they could do it themselves."""
    for config in trials:
        status = read_status(folder / config.trial_id)
        if status and status["state"] == "running":
            kept = {key: status[key] for key in ("step", "steps", "seconds")}
            write_status(folder / config.trial_id, "stopped", **kept)


def _keep_provenance(sweep: Sweep, folder: Path, arguments: Sequence[str]) -> None:
    """Keep the sweep file, and one line for each time that it was run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "sweep.yaml", sweep.path.read_text(encoding="utf-8"))
        row = {
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017
            "arguments": list(arguments),
            "trials": [config.trial_id for config in sweep.trials],
        }
        with open(folder / "runs.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; choose another --storage-path") from None
