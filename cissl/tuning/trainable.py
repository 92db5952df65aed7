"""What Ray runs: one trial in a process that the next trial may use again."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from ray import tune

from cissl.config import TrialConfig
from cissl.training.records import read_status
from cissl.training.trial import run_trial

REPORTED = ("step", "seconds", "accuracy", "gmean", "valid_accuracy", "valid_gmean")


@dataclasses.dataclass(frozen=True)
class Job:
    """What all trials of a sweep have in common."""

    sweep: str
    folder: Path
    """the sweep's; each trial has its own inside, named by its id"""
    data_dir: Path | None
    cpus: float
    gpus: float
    workers: int


def train(config: dict[str, Any], job: Job) -> None:
    """Run one trial to its end, or go on with it; its evaluations are reported to Tune.

    An exception makes Tune try again in a fresh process, which goes on from the last checkpoint. A trial that
    diverged would only diverge again, so it just ends; its record says what happened.
    """
    trial = TrialConfig.from_mapping(config["trial"])
    folder = job.folder / trial.trial_id
    torch.set_num_threads(max(1, int(job.cpus)))
    try:
        run_trial(
            trial,
            folder,
            data_dir=job.data_dir,
            sweep=job.sweep,
            device="cuda" if job.gpus else "cpu",
            on_evaluation=report,
        )
    except Exception:
        if (read_status(folder) or {}).get("state") != "diverged":
            raise
    finally:
        if job.gpus:
            torch.cuda.empty_cache()  # the next trial, or a neighbour on the same GPU, may need it


def report(row: dict[str, Any]) -> None:
    """Pass an evaluation on to the driver."""
    tune.report({key: row[key] for key in REPORTED})
