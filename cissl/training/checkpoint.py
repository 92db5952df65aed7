"""Checkpoints: one file each, written atomically and verified before use. The oldest ones are removed.

A checkpoint holds tensors and plain values only, so that loading one never executes code. Of a complete trial only the
averaged weights remain.
"""

import contextlib
import errno
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch

from cissl.atomic_files import atomic_write
from cissl.errors import UserError

logger = logging.getLogger(__name__)

WEIGHTS, PREDICTION = "weights.pt", "prediction.pt"
Device: TypeAlias = torch.device | str
NOT_THE_FILES_FAULT = (errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest.

    Args:
        folder: where the trial's checkpoints are.
        step: optimizer updates made.
        state: tensors and plain values.
        keep: how many checkpoints stay, at least 1.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / f"step_{step:010d}.pt"
    _save(path, state)
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoint files, oldest first."""
    return sorted(folder.glob("step_*.pt"))


def damaged_checkpoints(folder: Path) -> list[Path]:
    """Files that `load_newest_checkpoint` could not use and renamed, oldest first."""
    return sorted(folder.glob("step_*.damaged"))


def load_newest_checkpoint(
    folder: Path,
    *,
    check: Callable[[Path, dict[str, Any]], None] = lambda path, state: None,
    map_location: Device = "cpu",
) -> dict[str, Any] | None:
    """The state of the newest usable checkpoint, or None. Damaged files are named in a warning and renamed.

    If an exception ends the search, all files stay as they were.

    Args:
        folder: where the checkpoints are.
        check: raises an exception if a state cannot be used. After a UserError no older checkpoint is tried.
        map_location: device of the tensors, as for `torch.load`.

    Raises:
        UserError: raised by `check`.
        MemoryError, torch.OutOfMemoryError: memory is short, so the file may be good.
        OSError: the machine refuses to read the file, so it may be good.
    """
    state = None
    damaged: list[Path] = []
    for path in reversed(checkpoints(folder)):
        try:
            _check_integrity(path)
            found: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
            check(path, found)
            state = found
            break
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a damaged file can raise anything, and an older one may still be good
            if isinstance(error, OSError) and error.errno in NOT_THE_FILES_FAULT:
                raise
            logger.warning("checkpoint %s is passed over, it cannot be used: %s", path, error)
            damaged.append(path)
    for path in damaged:
        with contextlib.suppress(OSError):  # another worker of the trial has renamed it already
            path.rename(path.with_suffix(".damaged"))
    return state


def finish_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a complete trial. Damaged files stay, so that people can look at them."""
    for path in checkpoints(folder):
        path.unlink()
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Keep a network's weights.

    Args:
        folder: the trial's folder.
        weights: state dict of a network that `cissl.models.backbones.build` made.

    Raises:
        OSError: the file cannot be written.
    """
    _save(folder / WEIGHTS, weights)


def save_prediction(folder: Path, values: dict[str, Any]) -> None:
    """Keep what predictions need beside the weights.

    Args:
        folder: the trial's folder.
        values: see `Trainer.prediction`.

    Raises:
        OSError: the file cannot be written.
    """
    _save(folder / PREDICTION, values)


def load_tensors(path: Path) -> Any:
    """What `save_weights` or `save_prediction` wrote, on the CPU.

    Raises:
        UserError: the file is missing or damaged.
        MemoryError: memory is short.
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
            # The disk is full, or the process was interrupted. PyTorch replaces that error by one about its own
            # file format; people need the original error.
            raise error.__context__ from None


def _check_integrity(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load does not compare checksums
    if damaged:
        raise ValueError(f"checksum of {damaged} differs")
