"""A trial's folder: the records that tables, curves and reports are made from. `cissl.record_format` has their types.

    config.json       settings, their hash, the method       written once
    code/             the user's own files that it runs      written once
    provenance.json   data, split, versions, hardware        written at every start
    status.json       state, step, seconds, error            written at every evaluation
    history.jsonl     one row per evaluation                 grows at every evaluation
    confusion.npy     int32 (evaluations, C, C), test set    grows at every evaluation
    stats/            accuracy.json and GM.json: last 1, 10, 20 and 50 evaluations
    checkpoints/      see `checkpoint`; removed when the trial is complete
    weights.pt        the averaged network of a complete trial
    prediction.pt     what predictions need beside the weights, see `Trainer.prediction`
    tensorboard/      events of TensorBoard; wandb/ is the same for Weights & Biases
    loggers.json      ids of the trial's runs in other loggers, and the last step that W&B was sent (``wandb_step``)

An evaluation is appended to the history and to the confusion matrices, so that it costs the same however many came
before it. All other files are replaced as a whole. During training nothing waits until a record is on the disk. Only a
checkpoint does, and it stores how long history and confusion matrices were. So a resumed trial neither loses nor
repeats a row.
"""

import collections
import dataclasses
import datetime
import io
import json
import logging
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from cissl import plugins
from cissl.atomic_files import atomic_write, read_json, sync_file, write_at, write_json, write_text
from cissl.config import TrialConfig
from cissl.datasets import Dataset
from cissl.errors import UserError
from cissl.record_format import EvaluationRow, Status
from cissl.training.metrics import WINDOWS, window_summaries

logger = logging.getLogger(__name__)

ROWS, CONFUSIONS = "history.jsonl", "confusion.npy"
# column, and the name of its file in stats
STATISTICS: tuple[tuple[Literal["accuracy", "gmean"], str], ...] = (("accuracy", "accuracy"), ("gmean", "GM"))


def write_config(folder: Path, config: TrialConfig, sweep: str | None) -> None:
    """Record the settings, the algorithm's titles and papers, and the user's own code that the trial runs.

    Args:
        folder: the trial's folder.
        config: the trial's settings.
        sweep: name of the sweep that the trial belongs to; None for a single trial.
    """
    sources = plugins.sources(config.plugins)
    values = {
        "trial_id": config.trial_id,
        "name": config.name,
        "sweep": sweep,
        "config_hash": config.hash,
        "config": config.to_dict(),
        "title": config.recipe.title,
        "parts": [
            {"name": card.name, "title": card.title, "paper": card.paper, "venue": card.venue}
            for card in config.recipe.parts
        ],
        "code": {source.name: source.sha256 for source in sources},
    }
    write_json(folder / "config.json", values)
    for source in sources:
        write_text(folder / "code" / source.name, source.text)


def read_config(folder: Path) -> TrialConfig:
    """The settings of a recorded trial.

    The user's own code that the trial ran is registered from the record. It replaces files of the same names.

    Raises:
        UserError: the folder holds no trial, its code cannot be read, or this version does not know its settings.
    """
    path = folder / "config.json"
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        what = "cannot be read" if path.exists() else "is missing"
        raise UserError(f"{folder} is not the folder of a trial: {path.name} {what}")
    for name in map(os.path.basename, found.get("code") or ()):
        try:
            text = (folder / "code" / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{folder / 'code' / name}: cannot be read: {error}") from None
        plugins.add_source(plugins.Source(name, text, str(folder / "code" / name)))
    try:
        return TrialConfig.from_mapping(found["config"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def write_status(
    folder: Path,
    state: str,
    *,
    step: int,
    steps: int,
    saved_step: int = 0,
    seconds: float = 0.0,
    error: str | None = None,
    damaged: Sequence[str] = (),
) -> None:
    """Record how far the trial is.

    Args:
        folder: the trial's folder.
        state: running while it trains; complete, failed, stopped or diverged at its end.
        step: optimizer updates made.
        steps: optimizer updates of the whole training.
        saved_step: the newest checkpoint's step, at which the trial would resume; 0 without a checkpoint.
        seconds: training time in seconds.
        error: the error that ended the trial; None if there was none.
        damaged: names of the checkpoints that were found damaged.
    """
    values: Status = {
        "state": state,
        "step": step,
        "steps": steps,
        "saved_step": saved_step,
        "seconds": round(seconds, 3),
        "error": error,
        "damaged": list(damaged),
        "updated": now(),
    }
    write_json(folder / "status.json", values, sync=state != "running")


def read_status(folder: Path) -> Status | None:
    """The trial's status; None if it never started or the file is damaged."""
    status = read_json(folder / "status.json")
    whole = (
        isinstance(status, dict)
        and isinstance(status.get("state"), str)
        and all(isinstance(status.get(key, 0), int | float) for key in ("step", "steps", "saved_step", "seconds"))
        and isinstance(status.get("damaged", []), list)
    )
    return cast(Status, status) if whole else None


def resumes_at(status: Status) -> int:
    """The step at which a trial resumes. The first version did not record it; `step` stands in for it there."""
    return status.get("saved_step", status.get("step", 0))


def require_same_trial(folder: Path, config: TrialConfig) -> None:
    """Check that a folder is free or holds this trial.

    Raises:
        UserError: it holds another trial, or its ``config.json`` cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    found = read_json(path)
    if not isinstance(found, dict) or "config_hash" not in found:
        raise UserError(
            f"{path} cannot be read, so that it is not known whose folder this is; if it is that of {config.trial_id}, "
            "delete this file, which is then written again"
        )
    if found["config_hash"] != config.hash:
        raise UserError(
            f"{folder} holds another trial ({found.get('trial_id')}); give {config.trial_id} a folder of its own"
        )


def data_hashes(dataset: Dataset) -> dict[str, str]:
    """The hashes that identify a trial's data: of the indices of its split, and of the images and labels themselves."""
    return {"split_hash": dataset.split_hash, "content_hash": dataset.content_hash}


def recorded_data(folder: Path) -> dict[str, str]:
    """The `data_hashes` that a trial recorded when it last started; without those that are missing from its record."""
    found = read_json(folder / "provenance.json")
    return {key: found[key] for key in ("split_hash", "content_hash") if isinstance(found, dict) and key in found}


def require_same_data(folder: Path, name: str, recorded: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Check that a trial's data are still those that it was trained on. A hash that is not recorded is not compared.

    Args:
        folder: the trial's folder.
        name: name of data set and split, for the message.
        recorded: `data_hashes` that the trial recorded.
        present: `data_hashes` of the data as they are now.

    Raises:
        UserError: the data have changed.
    """
    words = {"split_hash": "the indices of the split", "content_hash": "images or labels"}
    changed = [
        f"{words[key]} ({key} {recorded[key]}, now {value})"
        for key, value in present.items()
        if recorded.get(key, value) != value
    ]
    if changed:
        raise UserError(
            f"{folder} was trained on other data than {name} is now: {' and '.join(changed)} changed. Put the former "
            "data back, or move that folder away to train on the present data",
            key="dataset",
        )


@dataclasses.dataclass(frozen=True)
class Mark:
    """How long a history was at some moment, with checksums. A checkpoint stores it.

    Attributes:
        rows: evaluations.
        size: bytes of ``history.jsonl``.
        crc: CRC-32 of these bytes.
        confusion_crc: CRC-32 of the matrices in ``confusion.npy``.
    """

    rows: int = 0
    size: int = 0
    crc: int = 0
    confusion_crc: int = 0


class History:
    """A trial's evaluations on the disk. One process at a time may add to them.

    If a process dies while it adds a row, a part of the row may stand behind the last mark. `begin` cuts it off.

    Args:
        folder: the trial's folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._rows, self._confusions = folder / ROWS, folder / CONFUSIONS
        self._mark = Mark()
        self._recent: collections.deque[EvaluationRow] = collections.deque(maxlen=max(WINDOWS))

    def check(self, mark: Mark) -> None:
        """Check that the files still begin with what they held at the mark.

        Raises:
            ValueError: they do not, or a file is missing.
            UserError: a file exists and cannot be read, so that its content is not known.
        """
        if not mark.rows:
            return
        try:
            if zlib.crc32(self._rows.read_bytes()[: mark.size]) != mark.crc:
                raise ValueError(f"{self._rows} does not hold the {mark.rows} evaluations made until then")
            if _crc_of_matrices(self._matrices(mark.rows)) != mark.confusion_crc:
                raise ValueError(f"{self._confusions} does not hold the {mark.rows} evaluations made until then")
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is missing") from None
        except OSError as error:
            raise _unreadable(Path(error.filename or self._rows), error.strerror or error) from None

    def begin(self, mark: Mark) -> None:
        """Cut the files back to a mark that `check` has accepted, and prepare to add rows after it."""
        self._mark = mark
        self._recent.clear()
        if mark.rows:
            classes = self._matrices(mark.rows).shape[1]
            write_at(self._confusions, (0, _header(mark.rows, classes)))
            os.truncate(self._confusions, len(_header(mark.rows, classes)) + mark.rows * classes**2 * 4)
            os.truncate(self._rows, mark.size)
            self._recent.extend(read_history(self._folder))
            self.write_statistics()
        else:
            for path in (self._rows, self._confusions, *(self._folder / "stats").glob("*.json")):
                path.unlink(missing_ok=True)

    def add(self, row: EvaluationRow, confusion: np.ndarray) -> None:
        """Record an evaluation.

        Args:
            row: its figures; NaN is written as null.
            confusion: confusion matrix of the test set, (C, C) integer; written as int32.

        Raises:
            UserError: another process has changed the history.
        """
        before, classes = self._mark, len(confusion)
        self._require_alone()
        matrix = confusion.astype("<i4").tobytes()
        line = (json.dumps(without_nan(row)) + "\n").encode()
        header = _header(before.rows + 1, classes)
        # The header comes last: readers leave a matrix out until the header counts it.
        write_at(self._confusions, (len(header) + before.rows * len(matrix), matrix), (0, header))
        write_at(self._rows, (before.size, line))
        self._mark = Mark(
            rows=before.rows + 1,
            size=before.size + len(line),
            crc=zlib.crc32(line, before.crc),
            confusion_crc=zlib.crc32(matrix, before.confusion_crc),
        )
        self._recent.append(row)
        self.write_statistics(sync=False)

    def mark(self) -> Mark:
        """How long the history is. All of it is on the disk when this returns."""
        if self._mark.rows:
            sync_file(self._rows)
            sync_file(self._confusions)
        return self._mark

    def write_statistics(self, *, sync: bool = True) -> None:
        """Write mean and median of the last 1, 10, 20 and 50 evaluations into ``stats``.

        Args:
            sync: wait until they are on the disk.
        """
        for column, name in STATISTICS:
            figures = [row[column] for row in self._recent]
            series = [math.nan if figure is None else figure for figure in figures]
            write_json(self._folder / "stats" / f"{name}.json", without_nan(window_summaries(series)), sync=sync)

    def _matrices(self, rows: int) -> np.ndarray:
        """The first matrices, (rows, C, C) int32, whatever comes after them."""
        try:
            with open(self._confusions, "rb") as file:
                np.lib.format.read_magic(file)
                _, classes, _ = np.lib.format.read_array_header_1_0(file)[0]
                return np.memmap(file, "<i4", "r", offset=file.tell(), shape=(rows, classes, classes))
        except ValueError as error:
            raise ValueError(f"{self._confusions} is damaged: {error}") from None

    def _require_alone(self) -> None:
        size = self._rows.stat().st_size if self._rows.exists() else 0
        if size != self._mark.size:
            raise UserError(
                f"{self._rows} has been changed by somebody else: does another process train this trial too? "
                "When none does, the same command continues from the last checkpoint"
            )


def write_history(folder: Path, rows: Sequence[EvaluationRow], confusions: np.ndarray) -> Mark:
    """Write a whole history, which replaces any other.

    Args:
        folder: the trial's folder.
        rows: one per evaluation; NaN is written as null.
        confusions: confusion matrices, (evaluations, C, C) integer; written as int32.

    Returns:
        Its mark, for `History.begin`.
    """
    text = "".join(json.dumps(without_nan(row)) + "\n" for row in rows)
    matrices = np.ascontiguousarray(confusions, "<i4")
    write_text(folder / ROWS, text)
    with atomic_write(folder / CONFUSIONS) as file:
        file.write(_header(len(rows), matrices.shape[1]) + matrices.tobytes())
    data = text.encode()
    return Mark(len(rows), len(data), zlib.crc32(data), _crc_of_matrices(matrices))


def read_history(folder: Path) -> list[EvaluationRow]:
    """The evaluations recorded in a trial's folder, oldest first.

    An incomplete last line is left out: the process that wrote it was ended.

    Raises:
        UserError: the file cannot be read, or another line is damaged.
    """
    path = folder / ROWS
    try:
        *lines, unfinished = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(path, error.strerror or error) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _parsed(line)
        if row is None:
            raise _unreadable(path, "damaged, it is not a JSON object", line=number)
        rows.append(row)
    last = _parsed(unfinished)
    return rows if last is None else [*rows, last]


def _unreadable(path: Path, reason: object, line: int | None = None) -> UserError:
    place = f"{path}, line {line}" if line else path
    return UserError(
        f"{place}: {reason}; put the file back from a copy, or move {path.parent} away to train this trial again"
    )


def _parsed(line: bytes) -> EvaluationRow | None:
    """A row from its line; None if the line holds no JSON object. Which keys a row has is not checked."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast(EvaluationRow, row) if isinstance(row, dict) else None


def _header(evaluations: int, classes: int) -> bytes:
    """The header of confusion.npy. NumPy pads it, so that it is equally long for any number of evaluations."""
    buffer = io.BytesIO()
    shape = (evaluations, classes, classes)
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _crc_of_matrices(matrices: np.ndarray) -> int:
    crc = 0
    for matrix in matrices:
        crc = zlib.crc32(matrix.tobytes(), crc)
    return crc


def now() -> str:
    """The current time in UTC, as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 (Python 3.10)


def without_nan(value: Any) -> Any:
    """A copy of `value` in which None replaces every NaN and infinity, which JSON cannot express."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
