"""STL-10 (Coates, Ng and Lee, 2011): the binary edition and the one for MATLAB.

The 100 000 unlabeled images follow the 5 000 training images, with the label -1. The data set's ten folds, each
of 1000 training images, are kept: they are its own labeled splits. Both editions store an image as 27 648 bytes,
plane by plane and each plane column by column, and count classes from 1.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cissl.datasets.sources.source_files import (
    CHUNK,
    existing,
    field,
    images_of_shape,
    load_matlab,
    matlab_texts,
    require,
    whole_records,
)
from cissl.datasets.store import ImageStream, SourceImages
from cissl.errors import UserError

SIDE = 96
ROW = 3 * SIDE**2


def read_stl10(folder: Path) -> SourceImages:
    """Read the folder of the official archive, of binary files or of Matlab's.

    Raises:
        UserError: a file is missing or damaged.
    """
    root = require(folder, "train_X.bin", "train.mat")
    return _read_binary(root) if (root / "train_X.bin").is_file() else _read_matlab(root)


def _read_binary(root: Path) -> SourceImages:
    return _images(
        class_names=existing(root / "class_names.txt").read_text().split(),
        train=_binary_stream(root / "train_X.bin"),
        train_labels=_binary_labels(root / "train_y.bin"),
        unlabeled=_binary_stream(root / "unlabeled_X.bin"),
        test=_binary_stream(root / "test_X.bin"),
        test_labels=_binary_labels(root / "test_y.bin"),
        folds=np.loadtxt(existing(root / "fold_indices.txt"), dtype=np.int64, ndmin=2),
    )


def _read_matlab(root: Path) -> SourceImages:
    train_path, test_path = root / "train.mat", existing(root / "test.mat")
    train, test = load_matlab(train_path), load_matlab(test_path)
    folds = field(train, "fold_indices", train_path).ravel()
    return _images(
        class_names=matlab_texts(field(train, "class_names", train_path)),
        train=_matlab_stream(train, train_path),
        train_labels=_matlab_labels(train, train_path),
        unlabeled=_hdf5_stream(existing(root / "unlabeled.mat")),
        test=_matlab_stream(test, test_path),
        test_labels=_matlab_labels(test, test_path),
        folds=np.stack([fold.ravel() for fold in folds]).astype(np.int64) - 1,
    )


def _images(
    *,
    class_names: list[str],
    train: ImageStream,
    train_labels: np.ndarray,
    unlabeled: ImageStream,
    test: ImageStream,
    test_labels: np.ndarray,
    folds: np.ndarray,
) -> SourceImages:
    together = ImageStream((train.shape[0] + unlabeled.shape[0], SIDE, SIDE, 3), chain(train.chunks, unlabeled.chunks))
    labels = np.concatenate([train_labels, np.full(unlabeled.shape[0], -1)])
    return SourceImages(
        class_names=class_names,
        train_images=together,
        train_labels=labels,
        test_images=test,
        test_labels=test_labels,
        folds=folds,
    )


def _binary_stream(path: Path) -> ImageStream:
    count = whole_records(existing(path), ROW)

    def chunks() -> Iterator[np.ndarray]:
        with open(path, "rb") as file:
            while len(rows := np.fromfile(file, dtype=np.uint8, count=CHUNK * ROW)):
                yield _upright(rows)

    return ImageStream((count, SIDE, SIDE, 3), chunks())


def _binary_labels(path: Path) -> np.ndarray:
    return np.fromfile(existing(path), dtype=np.uint8).astype(np.int64) - 1


def _matlab_labels(file: dict[str, Any], path: Path) -> np.ndarray:
    return np.asarray(field(file, "y", path), dtype=np.int64).ravel() - 1


def _matlab_stream(file: dict[str, Any], path: Path) -> ImageStream:
    rows = images_of_shape(field(file, "X", path), (None, ROW), path)
    chunks = (_upright(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK))
    return ImageStream((len(rows), SIDE, SIDE, 3), chunks)


def _hdf5_stream(path: Path) -> ImageStream:
    """The unlabeled images of the MATLAB edition, which are too many for MATLAB's own format."""
    try:
        import h5py  # this one file needs it
    except ImportError:
        raise UserError(
            f"{path} is an HDF5 file; pip install h5py, or take the binary edition, stl10_binary.tar.gz", key="from"
        ) from None
    columns = images_of_shape(h5py.File(path)["X"], (ROW, None), path)  # HDF5 shows MATLAB's arrays transposed
    count = columns.shape[1]
    chunks = (_upright(columns[:, start : start + CHUNK].T) for start in range(0, count, CHUNK))
    return ImageStream((count, SIDE, SIDE, 3), chunks)


def _upright(rows: np.ndarray) -> np.ndarray:
    """Planes of columns, in any number of axes, as images (n, H, W, C)."""
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
