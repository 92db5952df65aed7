"""Prepared data sets on disk: one folder of ``.npy`` arrays and a ``meta.json`` for each.

    <data dir>/<name>/meta.json            title, class names, weak augmentation, source
                      train_images.npy     uint8 (N, H, W, C): labeled and unlabeled images alike
                      train_labels.npy     int64 (N,), -1 where the class is unknown
                      test_images.npy      uint8 (M, H, W, C)
                      test_labels.npy      int64 (M,)
                      folds.npy            int64 (folds, size), only where the data set defines labeled splits

Arrays are opened with ``mmap``: opening takes milliseconds whatever the size, and all trials of a node share
one copy through the page cache.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cissl.errors import UserError

META = "meta.json"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "folds")


@dataclass(frozen=True, kw_only=True)
class Images:
    """A whole data set, before a split is chosen."""

    class_names: list[str]
    mirror: bool
    """Weak augmentation mirrors half of the images."""
    shift: int
    """Weak augmentation shifts by up to this many pixels."""
    train_images: np.ndarray
    """uint8 (N, H, W, C)"""
    train_labels: np.ndarray
    """int64 (N,), -1 where the class is unknown"""
    test_images: np.ndarray
    """uint8 (M, H, W, C)"""
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


def write_arrays(folder: Path, images: Images, meta: Mapping[str, object]) -> None:
    """Write the arrays and, last of all, ``meta.json``."""
    for name in ARRAYS:
        array = getattr(images, name)
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    described = {"class_names": images.class_names, "mirror": images.mirror, "shift": images.shift, **meta}
    (folder / META).write_text(json.dumps(described, indent=2) + "\n")


def open_images(name: str, data_dir: Path) -> Images:
    """A prepared data set, its arrays mapped into memory and not read.

    Raises:
        UserError: its files are damaged.
    """
    folder = data_dir / name
    try:
        meta = json.loads((folder / META).read_text())
        arrays = {array: np.load(folder / f"{array}.npy", mmap_mode="r") for array in ARRAYS
                  if array != "folds" or (folder / "folds.npy").exists()}
        return Images(class_names=meta["class_names"], mirror=meta["mirror"], shift=meta["shift"], **arrays)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the prepared data in {folder} cannot be read ({error}); delete that folder and "
                        f"prepare '{name}' again", key="dataset") from error
