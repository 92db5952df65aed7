"""Checkpoints: one file each, written atomically, verified before use, the oldest removed.

A checkpoint holds tensors and plain values only, so that loading one never executes code.
"""

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch

from cissl.training.files import atomic_write

logger = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write `state` as the checkpoint of `step`, then remove all but the `keep` newest."""
    path = folder / f"step_{step:010d}.pt"
    with atomic_write(path) as file:
        torch.save(state, file)
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoint files, oldest first."""
    return sorted(folder.glob("step_*.pt"))


def load_newest_checkpoint(folder: Path, *, map_location: Any = "cpu") -> dict[str, Any] | None:
    """The newest intact checkpoint's state, or None; a damaged one is named in a warning and passed over."""
    for path in reversed(checkpoints(folder)):
        try:
            _check_integrity(path)
            return torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:  # whatever a damaged file raises, an older one may still be good
            logger.warning("damaged checkpoint %s passed over (%s)", path, error)
    return None


def _check_integrity(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load does not compare the checksums
    if damaged:
        raise ValueError(f"checksum of {damaged} differs")
