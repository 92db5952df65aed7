"""One trial in one folder: start or resume, train, keep records; what both the command line and the sweeps call."""

import contextlib
import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cissl import datasets, plugins
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.models.backbones import parameter_count
from cissl.training import records
from cissl.training.atomic_files import write_json
from cissl.training.checkpoint import (
    WEIGHTS,
    checkpoints,
    damaged_checkpoints,
    finish_checkpoints,
    load_newest_checkpoint,
    save_checkpoint,
    save_prediction,
    save_weights,
)
from cissl.training.device import choose_device, prepare_process
from cissl.training.distributed import rank, sum_over_workers, world_size
from cissl.training.loggers import DEFAULT, Loggers, check_loggers
from cissl.training.provenance import provenance
from cissl.training.trainer import Trainer, TrialDiverged

logger = logging.getLogger(__name__)

CURVES = ("accuracy", "gmean", "valid_accuracy", "loss", "loss_labeled", "loss_unlabeled", "mask_ratio", "lr")


def run_trial(
    config: TrialConfig,
    folder: Path,
    *,
    data_dir: Path | None = None,
    sweep: str | None = None,
    device: str | None = None,
    on_start: Callable[[int], None] = lambda step: None,
    on_evaluation: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = False,
    loggers: Sequence[str] = DEFAULT,
) -> dict[str, Any]:
    """Train one trial, resuming from its newest intact checkpoint; a complete trial is not trained again.

    With torch.distributed initialised every worker calls this; the first one alone writes.

    On a CPU a resumed trial ends as one that was never interrupted, bit for bit, given the same kind of processor, the
    same libraries and as many threads and workers; ``provenance.json`` has them.

    Args:
        config: the trial's settings.
        folder: where its records and checkpoints live.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.
        sweep: name of the sweep it belongs to, for the records.
        device: ``"cpu"``, ``"cuda"``, …; by default a GPU where there is one.
        on_start: called once with the step that the trial goes on from: 0 at its beginning, its length if complete.
        on_evaluation: called with each new history row (plus ``steps``, the trial's length) once it is on the disk.
        progress: show a progress bar.
        loggers: where the curves are shown beside the records, see `cissl.training.loggers`.

    Returns:
        The last history row.

    Raises:
        UserError: the folder holds another trial, one of other data, or one whose records cannot be read; the data set
            or split is impossible; there is no such device.
        TrialDiverged: the loss became NaN or infinite; recorded as ``diverged``.
        BaseException: whatever stopped it; recorded as ``failed``, or ``stopped`` for an interruption.
    """
    records.require_same_trial(folder, config)
    chosen = choose_device(device)
    dataset = datasets.load(config.dataset, data_dir)
    status = _status(folder)
    if status.get("state") == "complete":
        on_start(config.steps)
        return _last_row(config, folder, dataset)

    run = _Run(config, folder, sweep, chosen, dataset, check_loggers(loggers))
    on_start(run.trainer.step)
    try:
        last = run.train(on_evaluation, progress)
        run.close("complete")
        return last
    except TrialDiverged as error:
        run.record("diverged", str(error))
        run.close("diverged")
        raise
    except Exception as error:
        with contextlib.suppress(OSError):  # of a full disk the error itself shall be heard
            place = plugins.place_of(error)
            lines = [f"{place}: {type(error).__name__}: {error}"] if place else []
            run.record("failed", "\n".join([traceback.format_exc().rstrip(), *lines]))
        run.close("failed")
        raise
    except BaseException:  # an interruption, not an error
        run.record("stopped")
        run.close("stopped")
        raise


class _Run:
    """A trial's trainer together with its folder and clock."""

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        sweep: str | None,
        device: torch.device,
        dataset: datasets.Dataset,
        loggers: Sequence[str],
    ):
        self.config, self.folder = config, folder
        self.checkpoints = folder / "checkpoints"
        self.history = records.History(folder)
        self.identity = {"config_hash": config.hash, "data": records.data_hashes(dataset)}
        self.writes = rank() == 0
        prepare_process()
        self.trainer = Trainer(config, dataset, device)
        state = load_newest_checkpoint(self.checkpoints, check=self._check, map_location=device)
        if state:
            self._load(state["trainer"])
        _require_agreement(self.trainer.step, device)
        self._seconds = state["seconds"] if state else 0.0
        self._saved_step = self.trainer.step
        self._began = time.monotonic()
        if self.writes:
            self.history.begin(_mark(folder, state))
            records.write_config(folder, config, sweep)
            facts = {**_data_facts(dataset), "parameters": parameter_count(self.trainer.learner.model)}
            write_json(folder / "provenance.json", {**facts, **provenance()})
            self.record("running")
        self._loggers = Loggers(loggers if self.writes else (), config, folder, sweep, self.trainer.step)

    def _check(self, path: Path, state: dict[str, Any]) -> None:
        """See that this trial can go on from a checkpoint."""
        if not isinstance(state, dict) or not {"trainer", "seconds"} <= state.keys():
            raise ValueError("it holds something else than the state of a trial")
        found = state.get("config_hash", self.config.hash)  # the first version did not say
        if found != self.config.hash:
            raise UserError(
                f"{path} is of another trial, whose config has the hash {found}, not {self.config.hash}; move it away"
            )
        data = state.get("data") or records.recorded_data(self.folder)
        records.require_same_data(self.folder, self.config.dataset, data, self.identity["data"])
        if "history" in state:
            self.history.check(records.Mark(**state["history"]))

    def _load(self, state: dict[str, Any]) -> None:
        try:
            self.trainer.load_state_dict(state)
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            path = checkpoints(self.checkpoints)[-1]
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path} does not fit {self.config.trial_id} ({type(error).__name__}: {reason:.200}); move it away: "
                "the trial then goes on from an older one, or begins anew where there is none"
            ) from error

    @property
    def seconds(self) -> float:
        """Training time, summed over resumptions."""
        return self._seconds + time.monotonic() - self._began

    def train(self, on_evaluation: Callable[[dict[str, Any]], None] | None, progress: bool) -> dict[str, Any]:
        trainer, steps = self.trainer, self.config.steps
        bar = tqdm(
            total=steps,
            initial=trainer.step,
            desc=self.config.name,
            unit="step",
            disable=not (progress and self.writes),
        )
        last = None
        with bar:
            for row in trainer.run():
                bar.update()
                if row:
                    last = {**row, "seconds": round(self.seconds, 3)}
                    self._record_evaluation(last)
                    bar.set_postfix_str(f"accuracy {row['accuracy']:.2f} gmean {row['gmean']:.2f}")
                if trainer.step % self.config.save_steps == 0 or trainer.step == steps:
                    self._save()
                if row and on_evaluation and self.writes:
                    on_evaluation({**last, "steps": steps})
        self._finish()
        return last or records.read_history(self.folder)[-1]

    def record(self, state: str, error: str | None = None) -> None:
        """Write the trial's status."""
        if self.writes:
            # An interrupted trial goes on from its checkpoint, not from where it was.
            step = self._saved_step if state == "stopped" else self.trainer.step
            steps = self.config.steps
            damaged = [path.name for path in damaged_checkpoints(self.checkpoints)]
            records.write_status(
                self.folder,
                state,
                step=step,
                steps=steps,
                saved_step=self._saved_step,
                seconds=self.seconds,
                error=error,
                damaged=damaged,
            )

    def close(self, state: str) -> None:
        """End what goes on beside the training."""
        self._loggers.close(state)

    def _record_evaluation(self, row: dict[str, Any]) -> None:
        if not self.writes:
            return
        self.history.add(row, self.trainer.confusion)
        self.record("running")
        self._loggers.log({**{name: row[name] for name in CURVES}, **_numbers(row)}, row["step"])

    def _save(self) -> None:
        if self.writes:
            mark = dataclasses.asdict(self.history.mark())
            state = {"trainer": self.trainer.state_dict(), "seconds": self.seconds, "history": mark, **self.identity}
            save_checkpoint(self.checkpoints, self.trainer.step, state, keep=self.config.keep_ckpt)
            self._saved_step = self.trainer.step
            self.record("running")

    def _finish(self) -> None:
        """Leave the averaged weights, and of a complete trial no checkpoint: at no moment is there neither."""
        if self.writes:
            self.history.write_statistics()
            save_weights(self.folder, self.trainer.learner.ema_model.state_dict())
            save_prediction(self.folder, self.trainer.prediction())
            self.record("complete")
            if not self.config.keep_training_state:
                finish_checkpoints(self.checkpoints)


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    """Named loss terms, and what a method measured: a number, or of lists one for each class or entry."""
    numbers = {f"terms/{name}": value for name, value in row.get("terms", {}).items()}
    for name, value in row.get("measured", {}).items():
        if not isinstance(value, list):
            numbers[f"measured/{name}"] = value
        elif not any(isinstance(each, list) for each in value):
            numbers |= {f"measured/{name}/{number}": each for number, each in enumerate(value)}
    return numbers


def _status(folder: Path) -> dict[str, Any]:
    """The trial's status, empty where it has none.

    Raises:
        UserError: it cannot be read, and there is a result that beginning anew would destroy.
    """
    status = records.read_status(folder)
    if status:
        return status
    path = folder / "status.json"
    if (folder / WEIGHTS).exists() and not checkpoints(folder / "checkpoints"):
        raise UserError(
            f"{path} is missing or damaged, though {WEIGHTS} beside it says that the trial is complete; put it back "
            f"from a copy, or delete {WEIGHTS} to train the trial again"
        )
    if path.exists():
        logger.warning("%s is damaged and is written anew", path)
    return {}


def _last_row(config: TrialConfig, folder: Path, dataset: datasets.Dataset) -> dict[str, Any]:
    """The result of a complete trial.

    Raises:
        UserError: it was trained on other data, or its history is damaged.
    """
    records.require_same_data(folder, config.dataset, records.recorded_data(folder), records.data_hashes(dataset))
    rows = records.read_history(folder)
    if not rows or rows[-1].get("step") != config.steps:
        raise UserError(
            f"{folder / records.ROWS} does not end at step {config.steps}, though the trial is complete; put it back "
            f"from a copy, or move {folder} away to train the trial again"
        )
    return rows[-1]


def _mark(folder: Path, state: dict[str, Any] | None) -> records.Mark:
    """How far a checkpoint's history is; those of the first version hold the history itself, which is written anew."""
    if state is None:
        return records.Mark()
    if "history" in state:
        return records.Mark(**state["history"])
    rows, confusions = state["trainer"]["history"], state["trainer"]["confusions"]
    return records.write_history(folder, rows, confusions.cpu().numpy()) if rows else records.Mark()


def _require_agreement(step: int, device: torch.device) -> None:
    """See that all workers go on from the same checkpoint; a shared folder may show a machine an older one."""
    if sum_over_workers(torch.tensor(step, device=device)).item() != step * world_size():
        raise RuntimeError(f"the workers found different checkpoints, this one that of step {step}")


def _data_facts(dataset: datasets.Dataset) -> dict[str, Any]:
    """The split in numbers. Labels of unlabeled images are counted here for the record and go nowhere else."""
    known = dataset.labels[dataset.unlabeled]
    return {
        **records.data_hashes(dataset),
        "class_names": list(dataset.class_names),
        "classes": dataset.classes,
        "labeled_counts": [int(count) for count in dataset.labeled_counts],
        "unlabeled_counts": np.bincount(known[known >= 0], minlength=dataset.classes).tolist(),
        "unlabeled_size": len(dataset.unlabeled),
        "unlabeled_labeled": len(np.intersect1d(dataset.unlabeled, dataset.labeled)),
        "valid_size": len(dataset.valid),
        "valid_labeled": dataset.valid_labeled,
        "test_size": len(dataset.test_labels),
    }
