"""What Ray runs: one trial, in one process that the next trial may use again, or in several."""

import dataclasses
import functools
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from cissl import plugins, pretrained
from cissl.config import TrialConfig
from cissl.training.records import now, read_status
from cissl.tuning.remote import trial_folder

REPORTED = ("step", "seconds", "accuracy", "gmean", "valid_accuracy", "valid_gmean")
POLL_S = 0.2

MISTAKES = (
    TypeError,
    NameError,
    AttributeError,
    LookupError,
    AssertionError,
)  # in a user's code; they would come again

RAY_TRAIN = {  # a trial of several workers starts in half the time
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What all trials of a sweep have in common."""

    sweep: str
    folder: Path
    """the sweep's; each trial has its own inside, named by its id"""
    remote: str | None
    """URI of the sweep's folder, where that is in an object store"""
    data_dir: Path | None
    cpus: float
    """of each worker"""
    gpus: float
    """of each worker"""
    workers: int
    loggers: tuple[str, ...] = ("tensorboard",)
    """where trials show their curves"""
    sources: tuple[plugins.Source, ...] = ()
    """the user's own code that the trials run, which no other machine has"""
    weights: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """where the files of pretrained weights are, which every machine must see, by their names"""


def tune_config(config: TrialConfig) -> dict[str, str]:
    """A trial's settings as Tune carries them: one string, which it copies in no time however many trials there are."""
    return {"trial": json.dumps(config.to_dict())}


@functools.cache
def trial_config(settings: str) -> TrialConfig:
    """The settings back from `tune_config`'s string."""
    return TrialConfig.from_mapping(json.loads(settings))


def train(config: dict[str, str], job: Job) -> None:
    """Run one trial to its end, or go on with it; its evaluations are reported to Tune.

    An exception makes Tune try again in a fresh process, which goes on from the last checkpoint. A trial that
    diverged would only diverge again, and a mistake in the user's own code be made again, so that it just ends; its
    record says what happened.
    """
    trial = _received(config["trial"], job)
    print(f"{now()}  {trial.trial_id}", flush=True)  # into this process's log, which Ray's dashboard shows
    if job.workers > 1:
        _train_with_workers(trial, job)
    else:
        _train_here(trial, job, "cuda" if job.gpus else "cpu", _report)


def _received(settings: str, job: Job) -> TrialConfig:
    """A trial's settings in the process that trains it, which may not have seen the user's own code yet."""
    for source in job.sources:
        plugins.add_source(source)
    pretrained.know(job.weights)
    return trial_config(settings)


def _train_here(
    trial: TrialConfig, job: Job, device: str, report: Callable[[dict[str, Any]], None], rank: int = 0
) -> None:
    import torch  # here, so that the driver, which imports this module too, goes without

    from cissl.training.trial import run_trial

    torch.set_num_threads(max(1, int(job.cpus)))
    with trial_folder(job.remote, job.folder, trial.trial_id, rank) as (folder, keep):

        def on_evaluation(row: dict[str, Any]) -> None:
            keep()
            report(row)

        try:
            run_trial(
                trial,
                folder,
                data_dir=job.data_dir,
                sweep=job.sweep,
                device=device,
                on_evaluation=on_evaluation,
                loggers=job.loggers,
            )
        except Exception as error:
            again = not isinstance(error, MISTAKES) or plugins.place_of(error) is None
            if again and (read_status(folder) or {}).get("state") != "diverged":
                raise
        finally:
            if job.gpus:
                torch.cuda.empty_cache()  # the next trial, or a neighbour on the same GPU, may need it


def _report(row: dict[str, Any]) -> None:
    """Pass an evaluation on to the driver."""
    tune.report({key: row[key] for key in REPORTED})


def _train_with_workers(trial: TrialConfig, job: Job) -> None:
    """Run one trial in several processes, by Ray Train.

    The first worker sends its evaluations through a queue, and this process passes them on: `train.report` would hold
    up all workers, and `TuneReportCallback` can deadlock and lose the last row.
    """
    os.environ.update(RAY_TRAIN)  # before ray.train is imported, which hands them on to its processes
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    rows = Queue(actor_options={"num_cpus": 0})
    trainer = TorchTrainer(
        _worker,
        train_loop_config={**tune_config(trial), "job": job, "rows": rows},
        scaling_config=ScalingConfig(
            num_workers=job.workers,
            use_gpu=job.gpus > 0,
            resources_per_worker={"CPU": job.cpus, **({"GPU": job.gpus} if job.gpus else {})},
        ),
        run_config=RunConfig(
            name="ray_train",
            storage_path=f"{job.remote or job.folder}/{trial.trial_id}",
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),  # Tune tries again
        ),
    )
    try:
        _drain_while(trainer.fit, rows)
    finally:
        rows.shutdown(force=True)


def _drain_while(fit: Callable[[], Any], rows: Any) -> None:
    """Call `fit` beside this thread, which alone may report to Tune, and report all rows that arrive."""
    failure: list[BaseException] = []

    def call() -> None:
        try:
            fit()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive() or not rows.empty():
        if rows.empty():
            thread.join(POLL_S)
        else:
            _report(rows.get())
    if failure:
        raise failure[0]


def _worker(config: dict[str, Any]) -> None:
    from ray.train import get_context
    from ray.train.torch import get_device

    rank, job = get_context().get_world_rank(), config["job"]
    _train_here(_received(config["trial"], job), job, str(get_device()), config["rows"].put, rank)
