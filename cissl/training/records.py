"""A trial's folder: the records that tables, curves and reports are made of.

    config.json       settings, their hash, the method       written once
    code/             the user's own files that it runs      written once
    provenance.json   data, split, versions, hardware        written at every start
    status.json       state, step, seconds, error            written at every evaluation
    history.jsonl     one row per evaluation                 grows at every evaluation
    confusion.npy     int32 (evaluations, C, C), test set    grows at every evaluation
    stats/            accuracy.json and GM.json: last 1, 10, 20 and 50 evaluations
    checkpoints/      to go on from, see `checkpoint`; removed when the trial is complete
    weights.pt        the averaged network of a complete trial
    prediction.pt     what predictions need beside it, see `Trainer.prediction`
    tensorboard/      events; wandb/ likewise, where that logger is asked for
    loggers.json      ids of the trial's runs in other loggers

History and confusion matrices are added to, so that an evaluation costs the same however many came before it. All other
files are replaced as a whole. What is written during training does not wait for the disk; a checkpoint does, and it
knows how long both histories were, so that a trial which goes on from it neither loses nor repeats a row.
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
from typing import Any

import numpy as np

from cissl import plugins
from cissl.config import TrialConfig
from cissl.datasets import Dataset
from cissl.errors import UserError
from cissl.training.atomic_files import atomic_write, read_json, sync_file, write_at, write_json, write_text
from cissl.training.metrics import WINDOWS, window_summaries

logger = logging.getLogger(__name__)

ROWS, CONFUSIONS = "history.jsonl", "confusion.npy"
STATISTICS = {"accuracy": "accuracy", "gmean": "GM"}  # column → name of the file in stats


def write_config(folder: Path, config: TrialConfig, sweep: str | None) -> None:
    """Record the settings, what the algorithm is, and the user's own code that it runs."""
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
    """The settings of a recorded trial; its own code is made known, in place of files of the same names.

    Raises:
        UserError: the folder holds no trial, or its settings mean nothing to this version.
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
        state: running, or for its end complete, failed, stopped or diverged.
        step: updates made, of `steps` in all.
        steps: see there.
        saved_step: updates that the newest checkpoint holds, where the trial would go on; 0: from the start.
        seconds: training time.
        error: what it failed of.
        damaged: names of the checkpoints that were found damaged.
    """
    values = {
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


def read_status(folder: Path) -> dict[str, Any] | None:
    """The trial's status, or None where it never started or the file is damaged."""
    status = read_json(folder / "status.json")
    whole = (
        isinstance(status, dict)
        and isinstance(status.get("state"), str)
        and all(isinstance(status.get(key, 0), int | float) for key in ("step", "steps", "saved_step", "seconds"))
        and isinstance(status.get("damaged", []), list)
    )
    return status if whole else None


def resumes_at(status: Mapping[str, Any]) -> int:
    """The step that a trial of this status goes on from; the first version recorded only how far it was."""
    return status.get("saved_step", status.get("step", 0))


def require_same_trial(folder: Path, config: TrialConfig) -> None:
    """See that a folder is free or holds this trial.

    Raises:
        UserError: it holds another one, or what it holds cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    found = read_json(path)
    if not isinstance(found, dict) or "config_hash" not in found:
        raise UserError(
            f"{path} cannot be read, so that it is not known whose folder this is; if it is that of {config.trial_id}, "
            "delete this file, which is written anew"
        )
    if found["config_hash"] != config.hash:
        raise UserError(
            f"{folder} holds another trial ({found.get('trial_id')}); give {config.trial_id} a folder of its own"
        )


def data_hashes(dataset: Dataset) -> dict[str, str]:
    """What a trial's data are known by: the indices of its split, and the images and labels themselves."""
    return {"split_hash": dataset.split_hash, "content_hash": dataset.content_hash}


def recorded_data(folder: Path) -> dict[str, str]:
    """The `data_hashes` of when a trial last began, as far as they are on record."""
    found = read_json(folder / "provenance.json")
    return {key: found[key] for key in ("split_hash", "content_hash") if isinstance(found, dict) and key in found}


def require_same_data(folder: Path, name: str, recorded: Mapping[str, str], present: Mapping[str, str]) -> None:
    """See that a trial's data are still those that it was trained on; what is not on record is not compared.

    Args:
        folder: the trial's.
        name: of data set and split.
        recorded: `data_hashes` of then.
        present: `data_hashes` of now.

    Raises:
        UserError: they are others.
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
            "data back, or move that folder away to train on the present ones",
            key="dataset",
        )


@dataclasses.dataclass(frozen=True)
class Mark:
    """How far a history was; a checkpoint keeps it."""

    rows: int = 0
    size: int = 0
    """bytes of history.jsonl"""
    crc: int = 0
    """CRC-32 of these bytes"""
    confusion_crc: int = 0
    """CRC-32 of the matrices in confusion.npy"""


class History:
    """A trial's evaluations on the disk, and the one that may add to them.

    A process that dies while it adds one leaves something behind the last mark; `begin` cuts that off.

    Args:
        folder: the trial's folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._rows, self._confusions = folder / ROWS, folder / CONFUSIONS
        self._mark = Mark()
        self._recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=max(WINDOWS))

    def check(self, mark: Mark) -> None:
        """See that the files still begin with what they held at the mark.

        Raises:
            ValueError: they do not.
            UserError: they are there and cannot be read, which says nothing about what they hold.
        """
        if not mark.rows:
            return
        try:
            if zlib.crc32(self._rows.read_bytes()[: mark.size]) != mark.crc:
                raise ValueError(f"{self._rows} does not hold the {mark.rows} evaluations made until then")
            if _crc_of_matrices(self._matrices(mark.rows)) != mark.confusion_crc:
                raise ValueError(f"{self._confusions} does not hold the {mark.rows} evaluations made until then")
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is not there") from None
        except OSError as error:
            raise _unreadable(Path(error.filename or self._rows), error.strerror or error) from None

    def begin(self, mark: Mark) -> None:
        """Go back to a mark that has been checked, and make ready to add to it."""
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

    def add(self, row: dict[str, Any], confusion: np.ndarray) -> None:
        """Record an evaluation.

        Args:
            row: its figures; NaN is written as null.
            confusion: (C, C) integer.

        Raises:
            UserError: somebody else has changed the history.
        """
        before, classes = self._mark, len(confusion)
        self._require_alone()
        matrix = confusion.astype("<i4").tobytes()
        line = (json.dumps(without_nan(row)) + "\n").encode()
        header = _header(before.rows + 1, classes)
        # The header last: until it counts a matrix, readers leave the matrix out.
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
        """How far the history is, all of it on the disk."""
        if self._mark.rows:
            sync_file(self._rows)
            sync_file(self._confusions)
        return self._mark

    def write_statistics(self, *, sync: bool = True) -> None:
        """Summarise the last evaluations."""
        for column, name in STATISTICS.items():
            series = [math.nan if row[column] is None else row[column] for row in self._recent]
            write_json(self._folder / "stats" / f"{name}.json", without_nan(window_summaries(series)), sync=sync)

    def _matrices(self, rows: int) -> np.ndarray:
        """The first matrices, (rows, C, C), whatever comes after them."""
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


def write_history(folder: Path, rows: Sequence[dict[str, Any]], confusions: np.ndarray) -> Mark:
    """Write a whole history in place of any other.

    Args:
        folder: the trial's folder.
        rows: one per evaluation; NaN is written as null.
        confusions: (evaluations, C, C) integer.

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


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The evaluations recorded in a trial's folder, oldest first.

    A last line without its end, which a process had no time to write, is left out.

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
    rows = [_parsed(line) for line in lines]
    for number, row in enumerate(rows, start=1):
        if row is None:
            raise _unreadable(path, "damaged, it is not a JSON object", line=number)
    last = _parsed(unfinished)
    return rows if last is None else [*rows, last]


def _unreadable(path: Path, reason: object, line: int | None = None) -> UserError:
    place = f"{path}, line {line}" if line else path
    return UserError(
        f"{place}: {reason}; put the file back from a copy, or move {path.parent} away to train this trial again"
    )


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _header(evaluations: int, classes: int) -> bytes:
    """The head of confusion.npy; numpy makes it as long for any number of evaluations."""
    buffer = io.BytesIO()
    shape = (evaluations, classes, classes)
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<i4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _crc_of_matrices(matrices: np.ndarray) -> int:
    crc = 0
    for matrix in matrices:
        crc = zlib.crc32(np.ascontiguousarray(matrix), crc)
    return crc


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 (Python 3.10)


def without_nan(value: Any) -> Any:
    """`value` with None for every float that JSON has no word for."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
