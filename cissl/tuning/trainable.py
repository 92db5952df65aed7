"""What Ray runs: one trial, in one process that runs further trials afterwards, or in several processes."""

import dataclasses
import functools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

if "ray" not in sys.modules:  # Ray's workers have it, and the environment that their cluster gave them
    import cissl.tuning.ray_environment  # noqa: F401
from ray import tune

from cissl import plugins, pretrained
from cissl.config import TrialConfig
from cissl.record_format import EvaluationRow
from cissl.training.records import now, read_status
from cissl.tuning.remote import trial_folder

POLL_S = 0.2

# Such an error in a user's own code would come again, so that another attempt is useless.
MISTAKES = (TypeError, NameError, AttributeError, LookupError, AssertionError)

RAY_TRAIN = {  # with these a trial of several workers starts in half the time
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What all trials of a sweep have in common.

    Attributes:
        sweep: name of the sweep.
        folder: the sweep's folder; each trial has a folder in it, named by its id.
        remote: URI of the sweep's folder in an object store; None if `folder` keeps the results.
        data_dir: where prepared data sets live; None: as `cissl.datasets.load` decides.
        cpus, gpus: CPUs and GPUs of each worker.
        workers: processes of each trial.
        loggers: names of the loggers that show the trials' curves.
        sources: the user's own code that the trials run; other machines get it from here.
        weights: name → file of pretrained weights; every machine must see these files.
    """

    sweep: str
    folder: Path
    remote: str | None
    data_dir: Path | None
    cpus: float
    gpus: float
    workers: int
    loggers: tuple[str, ...] = ("tensorboard",)
    sources: tuple[plugins.Source, ...] = ()
    weights: dict[str, Path] = dataclasses.field(default_factory=dict)


def tune_config(config: TrialConfig) -> dict[str, str]:
    """A trial's settings as Tune carries them: a single string, which is cheap to copy for thousands of trials."""
    return {"trial": json.dumps(config.to_dict())}


@functools.cache
def trial_config(settings: str) -> TrialConfig:
    """The settings that `tune_config` made this string from."""
    return TrialConfig.from_mapping(json.loads(settings))


def train(config: dict[str, str], job: Job) -> None:
    """Start or resume one trial, train it to its end, and report its evaluations to Tune.

    After an exception Tune tries again in a fresh process, which resumes from the last checkpoint. Another attempt is
    useless if the trial diverged, or if the user's own code has a mistake. Then this function returns as usual, and the
    trial's record has the error.

    Args:
        config: made by `tune_config`.
        job: what all trials of the sweep have in common.

    Raises:
        BaseException: the trial failed and another attempt may help.
    """
    trial = _received(config["trial"], job)
    print(f"{now()}  {trial.trial_id}", flush=True)  # goes into this process's log, which Ray's dashboard shows
    if job.workers > 1:
        _train_with_workers(trial, job)
    else:
        _train_here(trial, job, "cuda" if job.gpus else "cpu", _report)


def _received(settings: str, job: Job) -> TrialConfig:
    """A trial's settings in the process that trains it, which first learns of the user's own code and weights."""
    for source in job.sources:
        plugins.add_source(source)
    pretrained.know(job.weights)
    return trial_config(settings)


def _train_here(
    trial: TrialConfig, job: Job, device: str, report: Callable[[EvaluationRow], None], rank: int = 0
) -> None:
    """Train a trial in this process, as the worker of this rank."""
    import torch  # here, since the driver imports this module too and does not need torch

    from cissl.training.trial import run_trial

    torch.set_num_threads(max(1, int(job.cpus)))
    with trial_folder(job.remote, job.folder, trial.trial_id, rank) as (folder, keep):

        def on_evaluation(row: EvaluationRow) -> None:
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
            is_users_mistake = isinstance(error, MISTAKES) and plugins.place_of(error) is not None
            status = read_status(folder)
            if not is_users_mistake and not (status and status["state"] == "diverged"):
                raise
        finally:
            if job.gpus:
                torch.cuda.empty_cache()  # the next trial, or another one on the same GPU, may need it


def _report(row: EvaluationRow) -> None:
    """Send the figures of an evaluation that the driver uses to Tune."""
    tune.report(
        {
            "step": row["step"],
            "seconds": row["seconds"],
            "accuracy": row["accuracy"],
            "gmean": row["gmean"],
            "valid_accuracy": row["valid_accuracy"],
            "valid_gmean": row["valid_gmean"],
        }
    )


def _train_with_workers(trial: TrialConfig, job: Job) -> None:
    """Run one trial in several processes with Ray Train.

    The first worker puts its evaluations into a queue, and this process reports them to Tune. `train.report` is not
    used since it would make all workers wait, and `TuneReportCallback` can deadlock and lose the last row.
    """
    os.environ.update(RAY_TRAIN)  # ray.train reads them when it is imported, and passes them to its processes
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
            failure_config=FailureConfig(
                max_failures=0,  # Tune tries again
                controller_failure_limit=0,  # type: ignore[call-arg]  # Ray hides its newer class from type checkers
            ),
        ),
    )
    try:
        _drain_while(trainer.fit, rows)
    finally:
        rows.shutdown(force=True)


def _drain_while(fit: Callable[[], Any], rows: Any) -> None:
    """Call `fit` in another thread and report all rows that arrive; only this thread may report to Tune."""
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
    """What each process of a trial of several workers runs."""
    from ray.train import get_context
    from ray.train.torch import get_device

    rank, job = get_context().get_world_rank(), config["job"]
    _train_here(_received(config["trial"], job), job, str(get_device()), config["rows"].put, rank)
