"""Prepared data sets on disk: one folder of ``.npy`` arrays and a ``meta.json`` for each.

    <data dir>/<name>/meta.json            title, class names, weak augmentation, source, SHA-256 of every array
                      train_images.npy     uint8 (N, H, W, C): labeled and unlabeled images alike
                      train_labels.npy     int64 (N,), -1 where the class is unknown
                      test_images.npy      uint8 (M, H, W, C)
                      test_labels.npy      int64 (M,)
                      folds.npy            int64 (folds, size), only where the data set defines labeled splits

Arrays are opened with ``mmap``: opening takes milliseconds whatever the size, and all trials of a node share
one copy through the page cache. `cissl.datasets.writing` makes these folders.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from cissl.errors import UserError

META = "meta.json"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "folds")


@dataclass(frozen=True)
class ImageStream:
    """Images that are made while they are written, since together they may exceed the memory."""

    shape: tuple[int, int, int, int]
    """(N, H, W, C)"""
    chunks: Iterable[np.ndarray]
    """uint8 (n, H, W, C), together N images; to be consumed once"""
    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Images:
    """A whole data set, before a split is chosen."""

    class_names: list[str]
    mirror: bool = False
    """Weak augmentation mirrors half of the images."""
    shift: int = 0
    """Weak augmentation shifts by up to this many pixels."""
    train_images: np.ndarray | ImageStream
    """uint8 (N, H, W, C); a stream only until it is written"""
    train_labels: np.ndarray
    """int64 (N,), -1 where the class is unknown"""
    test_images: np.ndarray | ImageStream
    """uint8 (M, H, W, C); a stream only until it is written"""
    test_labels: np.ndarray
    """int64 (M,)"""
    folds: np.ndarray | None = None
    """int64 (folds, size): labeled splits that the data set itself defines"""


def data_directory(data_dir: Path | str | None = None) -> Path:
    """Where prepared data live: the argument, else ``$ML_DATA``, else ``~/.cache/cissl``."""
    return Path(data_dir or os.environ.get("ML_DATA") or "~/.cache/cissl").expanduser()


def is_prepared(name: str, data_dir: Path) -> bool:
    return (data_dir / name / META).is_file()


def prepared_names(data_dir: Path) -> list[str]:
    return sorted(meta.parent.name for meta in data_dir.glob(f"[!.]*/{META}"))


def read_meta(name: str, data_dir: Path) -> dict:
    """What ``meta.json`` says of a prepared data set.

    Raises:
        UserError: it cannot be read.
    """
    try:
        meta = json.loads((data_dir / name / META).read_text())
    except (OSError, ValueError) as error:
        raise _damaged(name, data_dir, error) from error
    if missing := {"class_names", "mirror", "shift", "files"}.difference(meta):
        raise _damaged(name, data_dir, f"{META} has no {', '.join(sorted(missing))}")
    return meta


def open_images(name: str, data_dir: Path) -> Images:
    """A prepared data set, its arrays mapped into memory and not read.

    Raises:
        UserError: its files are damaged.
    """
    meta = read_meta(name, data_dir)
    folder = data_dir / name
    try:
        arrays = {
            array: np.load(folder / f"{array}.npy", mmap_mode="r")
            for array in ARRAYS
            if array != "folds" or (folder / "folds.npy").exists()
        }
    except (OSError, ValueError) as error:
        raise _damaged(name, data_dir, error) from error
    return Images(class_names=meta["class_names"], mirror=meta["mirror"], shift=meta["shift"], **arrays)


def _damaged(name: str, data_dir: Path, error: Exception | str) -> UserError:
    return UserError(
        f"the prepared data in {data_dir / name} cannot be read ({error}); delete that folder and prepare "
        f"'{name}' again",
        key="dataset",
    )
