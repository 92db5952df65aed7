"""One trial in one folder: start or resume it, train, keep records. The command line and the sweeps both call this."""

import contextlib
import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch
from tqdm import tqdm

from cissl import datasets, plugins
from cissl.atomic_files import write_json
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.models.backbones import parameter_count
from cissl.record_format import EvaluationRow, Status
from cissl.training import records
from cissl.training.checkpoint import (
    PREDICTION,
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

OnEvaluation = Callable[[EvaluationRow], None]
CURVES = ("accuracy", "gmean", "valid_accuracy", "loss", "loss_labeled", "loss_unlabeled", "mask_ratio", "lr")
FILES = (
    *("config.json", "provenance.json", "status.json", records.ROWS, records.CONFUSIONS, WEIGHTS, PREDICTION),
    *(f"stats/{name}.json" for _, name in records.STATISTICS),
)
FOLDERS = ("code", "stats", "checkpoints")


def run_trial(
    config: TrialConfig,
    folder: Path,
    *,
    data_dir: Path | None = None,
    sweep: str | None = None,
    device: str | None = None,
    on_start: Callable[[int], None] = lambda step: None,
    on_evaluation: OnEvaluation | None = None,
    progress: bool = False,
    loggers: Sequence[str] = DEFAULT,
) -> EvaluationRow:
    """Train one trial. It resumes from its newest intact checkpoint, and a complete trial is not trained again.

    With torch.distributed initialised every worker calls this; only the first one writes.

    On a CPU a resumed trial ends bit for bit like one that was never interrupted, given the same kind of processor, the
    same libraries, and as many threads and workers; ``provenance.json`` has them.

    Args:
        config: the trial's settings.
        folder: where its records and checkpoints live.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.
        sweep: name of the sweep it belongs to, for the records.
        device: see `choose_device`.
        on_start: called once with the step at which the trial starts: 0 if it is new, its length if it is complete.
        on_evaluation: called with each new row of the history, after it was written.
        progress: whether to show a progress bar.
        loggers: names of loggers that show the curves, see `cissl.training.loggers`.

    Returns:
        The last row of the history.

    Raises:
        UserError: the folder holds another trial, other data were used, or its records cannot be read; the data set or
            split is impossible; there is no such device or logger.
        TrialDiverged: the loss became NaN or infinite; the status is ``diverged``.
        BaseException: any other error, with status ``failed``; or an interruption, with status ``stopped``.
    """
    records.require_same_trial(folder, config)
    chosen = choose_device(device)
    dataset = datasets.load(config.dataset, data_dir)
    if _status(folder)["state"] == "complete":
        on_start(config.steps)
        return _last_row(config, folder, dataset)
    _require_places(folder)
    run = _Run(config, folder, sweep, chosen, dataset, check_loggers(loggers))
    on_start(run.trainer.step)
    with run.recorded_end():
        return run.train(on_evaluation, progress)


class _Run:
    """A trial's trainer with its folder, its records and its clock."""

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
        self.data_hashes = records.data_hashes(dataset)
        self.writes = rank() == 0
        prepare_process()
        self.trainer = Trainer(config, dataset, device)
        state = load_newest_checkpoint(self.checkpoints, check=self._check, map_location=device)
        if state:
            self._load(state["trainer"])
        _require_agreement(self.trainer.step, device)
        self._seconds = state["seconds"] if state else 0.0
        self._saved_step = self.trainer.step
        self._complete = False
        self._began = time.monotonic()
        if self.writes:
            self.history.begin(_mark(folder, state))
            records.write_config(folder, config, sweep)
            facts = {**_data_facts(dataset), "parameters": parameter_count(self.trainer.learner.model)}
            write_json(folder / "provenance.json", {**facts, **provenance()})
            self.record("running")
        past = [(_curves(row), row["step"]) for row in records.read_history(folder)] if self.writes and state else []
        self._loggers = Loggers(loggers if self.writes else (), config, folder, sweep, self.trainer.step, past)

    def _check(self, path: Path, state: dict[str, Any]) -> None:
        """Check that this trial can resume from a checkpoint."""
        if not isinstance(state, dict) or not {"trainer", "seconds"} <= state.keys():
            raise ValueError("it does not hold the state of a trial")
        found = state.get("config_hash", self.config.hash)  # checkpoints of the first version have no hash
        if found != self.config.hash:
            raise UserError(
                f"{path} is of another trial, whose config has the hash {found}, not {self.config.hash}; move it away"
            )
        data = state.get("data") or records.recorded_data(self.folder)
        records.require_same_data(self.folder, self.config.dataset, data, self.data_hashes)
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
                "the trial then continues from an older one, or starts again if there is none"
            ) from error

    @property
    def seconds(self) -> float:
        """Training time in seconds, summed over resumptions."""
        return self._seconds + time.monotonic() - self._began

    def train(self, on_evaluation: OnEvaluation | None, progress: bool) -> EvaluationRow:
        """Train to the end, with records and checkpoints on the way; the last row of the history."""
        trainer, steps = self.trainer, self.config.steps
        last: EvaluationRow | None = None
        with self._progress_bar(progress) as bar:
            for figures in trainer.run():
                bar.update()
                if figures:
                    last = {**figures, "seconds": round(self.seconds, 3)}
                    self._record_evaluation(last)
                    bar.set_postfix_str(f"accuracy {last['accuracy']:.2f} gmean {last['gmean']:.2f}")
                if trainer.step % self.config.save_steps == 0 or trainer.step == steps:
                    self._save()
                if figures and last and on_evaluation and self.writes:
                    on_evaluation(last)
        self._finish()
        return last or records.read_history(self.folder)[-1]

    @contextlib.contextmanager
    def recorded_end(self) -> Iterator[None]:
        """Record how the training inside ends, and close its loggers."""
        try:
            yield
        except TrialDiverged as error:
            self.record("diverged", str(error))
            self._loggers.close("diverged")
            raise
        except Exception as error:
            with contextlib.suppress(OSError):  # on a full disk the record fails too; the first error counts
                self.record("failed", _report(error))
            self._loggers.close("failed")
            raise
        except BaseException:  # an interruption, not an error
            self.record("stopped")
            self._loggers.close("stopped")
            raise
        self._loggers.close("complete")

    def record(self, state: str, error: str | None = None) -> None:
        """Write the trial's status. A complete trial stays complete, whatever happens afterwards."""
        if not self.writes or self._complete:
            return
        records.write_status(
            self.folder,
            state,
            # An interrupted trial resumes at its checkpoint; the steps after it are lost.
            step=self._saved_step if state == "stopped" else self.trainer.step,
            steps=self.config.steps,
            saved_step=self._saved_step,
            seconds=self.seconds,
            error=error,
            damaged=[path.name for path in damaged_checkpoints(self.checkpoints)],
        )
        self._complete = state == "complete"

    def _progress_bar(self, wanted: bool) -> "tqdm[NoReturn]":
        return tqdm(
            total=self.config.steps,
            initial=self.trainer.step,
            desc=self.config.name,
            unit="step",
            disable=not (wanted and self.writes),
        )

    def _record_evaluation(self, row: EvaluationRow) -> None:
        if not self.writes:
            return
        assert self.trainer.confusion is not None, "an evaluation was made"
        self.history.add(row, self.trainer.confusion)
        self.record("running")
        self._loggers.log(_curves(row), row["step"])

    def _save(self) -> None:
        if self.writes:
            state = {
                "trainer": self.trainer.state_dict(),
                "seconds": self.seconds,
                "history": dataclasses.asdict(self.history.mark()),
                "config_hash": self.config.hash,
                "data": self.data_hashes,
            }
            save_checkpoint(self.checkpoints, self.trainer.step, state, keep=self.config.keep_ckpt)
            self._saved_step = self.trainer.step
            self.record("running")

    def _finish(self) -> None:
        """Write the averaged weights, and only then remove the checkpoints, so that one of the two always exists."""
        if self.writes:
            self.history.write_statistics()
            save_weights(self.folder, self.trainer.learner.ema_model.state_dict())
            save_prediction(self.folder, self.trainer.prediction())
            self.record("complete")
            if not self.config.keep_training_state:
                finish_checkpoints(self.checkpoints)


def _report(error: Exception) -> str:
    """The traceback of an error that is being handled; then the line of the user's own code that it came from."""
    place = plugins.place_of(error)
    lines = [f"{place}: {type(error).__name__}: {error}"] if place else []
    return "\n".join([traceback.format_exc().rstrip(), *lines])


def _curves(row: EvaluationRow) -> dict[str, float | None]:
    """The figures of a row that loggers show, by name; a row of an earlier version may lack some."""
    figures = cast(Mapping[str, Any], row)
    return {**{name: figures.get(name) for name in CURVES}, **_method_curves(row)}


def _method_curves(row: EvaluationRow) -> dict[str, float | None]:
    """Named loss terms and what the method measured. A list of numbers gives one curve for each of its entries."""
    numbers = {f"terms/{name}": value for name, value in row.get("terms", {}).items()}
    for name, value in row.get("measured", {}).items():
        if not isinstance(value, list):
            numbers[f"measured/{name}"] = value
        elif not any(isinstance(each, list) for each in value):
            numbers |= {f"measured/{name}/{number}": each for number, each in enumerate(value)}
    return numbers


def _status(folder: Path) -> Status:
    """The trial's status; ``new`` for one that has none.

    Raises:
        UserError: it cannot be read, and there is a result that a new start would destroy.
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
        logger.warning("%s is damaged and is written again", path)
    return {"state": "new"}


def _require_places(folder: Path) -> None:
    """See that no folder lies where a trial keeps a file, and no file where it keeps a folder.

    A trial would meet it at some later step, when it has written other files already.

    Raises:
        UserError: one does.
    """
    files = [*(folder / name for name in FILES), *checkpoints(folder / "checkpoints")]
    wrong = {path: "a folder, where the trial keeps a file" for path in files if path.is_dir()}
    folders = [folder / name for name in FOLDERS]
    wrong |= {path: "a file, where the trial keeps a folder" for path in folders if path.exists() and not path.is_dir()}
    if wrong:
        told = "; ".join(f"{path} is {words}" for path, words in wrong.items())
        raise UserError(f"{told}; move it away, and put what was there back if you have a copy")


def _last_row(config: TrialConfig, folder: Path, dataset: datasets.Dataset) -> EvaluationRow:
    """The last row of a complete trial's history.

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
    """How long a checkpoint's history is. Checkpoints of the first version hold the history; it is written to files."""
    if state is None:
        return records.Mark()
    if "history" in state:
        return records.Mark(**state["history"])
    rows, confusions = state["trainer"]["history"], state["trainer"]["confusions"]
    return records.write_history(folder, rows, confusions.cpu().numpy()) if rows else records.Mark()


def _require_agreement(step: int, device: torch.device) -> None:
    """Check that all workers resume from the same checkpoint: a shared folder may show one machine an older state."""
    if sum_over_workers(torch.tensor(step, device=device)).item() != step * world_size():
        raise RuntimeError(f"the workers found different checkpoints, this one that of step {step}")


def _data_facts(dataset: datasets.Dataset) -> dict[str, Any]:
    """The split in numbers. The labels of unlabeled images are counted for the record; training does not see them."""
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
