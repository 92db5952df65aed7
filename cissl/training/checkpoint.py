"""Checkpoints: one file each, written atomically, verified before use, the oldest removed.

A checkpoint holds tensors and plain values only, so that loading one never executes code. When a trial is complete its
averaged weights alone remain.
"""

import contextlib
import errno
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cissl.errors import UserError
from cissl.training.atomic_files import atomic_write

logger = logging.getLogger(__name__)

WEIGHTS, PREDICTION = "weights.pt", "prediction.pt"
NOT_THE_FILES_FAULT = (errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write `state` as the checkpoint of `step`, then remove all but the `keep` newest."""
    path = folder / f"step_{step:010d}.pt"
    _save(path, state)
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoint files, oldest first."""
    return sorted(folder.glob("step_*.pt"))


def damaged_checkpoints(folder: Path) -> list[Path]:
    """Files that were found damaged and set aside."""
    return sorted(folder.glob("step_*.damaged"))


def load_newest_checkpoint(
    folder: Path, *, check: Callable[[Path, dict[str, Any]], None] = lambda path, state: None, map_location: Any = "cpu"
) -> dict[str, Any] | None:
    """The newest usable checkpoint's state, or None; an unusable one is named in a warning and set aside.

    Args:
        folder: where the checkpoints are.
        check: raises an exception where a state cannot be used after all; a UserError ends the search.
        map_location: as for `torch.load`.

    Raises:
        UserError: by `check`.
        MemoryError, torch.OutOfMemoryError, OSError: which say nothing about what the file holds.
    """
    for path in reversed(checkpoints(folder)):
        try:
            _check_integrity(path)
            state = torch.load(path, map_location=map_location, weights_only=True)
            check(path, state)
            return state
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a damaged file raises, an older one may still be good
            if isinstance(error, OSError) and error.errno in NOT_THE_FILES_FAULT:
                raise
            logger.warning("checkpoint %s is passed over, it cannot be used: %s", path, error)
            with contextlib.suppress(OSError):  # another worker of the trial was faster
                path.rename(path.with_suffix(".damaged"))
    return None


def finish_checkpoints(folder: Path) -> None:
    """Remove what only an unfinished trial needs; damaged files stay to be looked at."""
    for path in checkpoints(folder):
        path.unlink()
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Keep a network's state dict, as a network of `cissl.models.backbones.build` can load it."""
    _save(folder / WEIGHTS, weights)


def save_prediction(folder: Path, values: dict[str, Any]) -> None:
    """Keep what predictions need beside the weights, see `Trainer.prediction`."""
    _save(folder / PREDICTION, values)


def load_tensors(path: Path) -> Any:
    """What a file of weights or predictions holds, on the CPU.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        _check_integrity(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path} cannot be read: {error}; put it back from a copy, or train the trial again") from None


def _save(path: Path, value: Any) -> None:
    with atomic_write(path) as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            if error.__context__ is None:
                raise
            # A full disk or an interruption: torch hides it behind a complaint about its own file's form.
            raise error.__context__ from None


def _check_integrity(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load does not compare the checksums
    if damaged:
        raise ValueError(f"checksum of {damaged} differs")
