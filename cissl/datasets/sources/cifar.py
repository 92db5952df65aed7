"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): the editions for Python, for C (binary) and for MATLAB.

All editions give the same images in the same order. An image is a row of 3072 bytes: the red, the green and the
blue plane, each row by row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cissl.datasets.sources.archives import load_pickle
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

SIDE = 32
ROW = 3 * SIDE**2


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of files, without suffix, and of the fields in them."""

    train: tuple[str, ...]
    test: str
    meta: str
    binary_meta: str
    labels: str
    class_names: str
    label_bytes: int
    """Labels before each image of the binary edition, of which the last is the class."""


CIFAR10 = Layout(
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    binary_meta="batches.meta.txt",
    labels="labels",
    class_names="label_names",
    label_bytes=1,
)
CIFAR100 = Layout(
    train=("train",),
    test="test",
    meta="meta",
    binary_meta="fine_label_names.txt",
    labels="fine_labels",
    class_names="fine_label_names",
    label_bytes=2,
)


def read_cifar10(folder: Path) -> SourceImages:
    """Read the folder of the official archive.

    Raises:
        UserError: a file is missing or damaged.
    """
    return _read(CIFAR10, folder)


def read_cifar100(folder: Path) -> SourceImages:
    """With the 100 fine classes."""
    return _read(CIFAR100, folder)


def _read(layout: Layout, folder: Path) -> SourceImages:
    root = require(folder, *(layout.train[0] + suffix for suffix in EDITIONS))
    suffix = next(suffix for suffix in EDITIONS if (root / (layout.train[0] + suffix)).is_file())
    read_batch, read_names = EDITIONS[suffix]
    batches = [read_batch(layout, existing(root / (batch + suffix))) for batch in (*layout.train, layout.test)]
    rows, labels = zip(*batches, strict=True)
    return SourceImages(
        class_names=read_names(layout, root),
        train_images=_stream(rows[:-1]),
        train_labels=np.concatenate(labels[:-1]),
        test_images=_stream(rows[-1:]),
        test_labels=labels[-1],
    )


def _python_batch(layout: Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = load_pickle(path)
    rows = images_of_shape(field(batch, "data", path), (None, ROW), path)
    return rows, np.array(field(batch, layout.labels, path), dtype=np.int64)


def _python_names(layout: Layout, root: Path) -> list[str]:
    path = existing(root / layout.meta)
    return list(field(load_pickle(path), layout.class_names, path))


def _binary_batch(layout: Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    count = whole_records(path, layout.label_bytes + ROW)
    records = np.fromfile(path, dtype=np.uint8).reshape(count, -1)
    return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1].astype(np.int64)


def _binary_names(layout: Layout, root: Path) -> list[str]:
    return existing(root / layout.binary_meta).read_text().split()


def _matlab_batch(layout: Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = load_matlab(path)
    rows = images_of_shape(field(batch, "data", path), (None, ROW), path)
    return rows, field(batch, layout.labels, path).ravel().astype(np.int64)


def _matlab_names(layout: Layout, root: Path) -> list[str]:
    path = existing(root / f"{layout.meta}.mat")
    return matlab_texts(field(load_matlab(path), layout.class_names, path))


EDITIONS = {
    "": (_python_batch, _python_names),
    ".bin": (_binary_batch, _binary_names),
    ".mat": (_matlab_batch, _matlab_names),
}
"""Suffix of the files → reader of a batch: rows uint8 (n, 3072) and labels int64 (n,); reader of the class names."""


def _stream(batches: tuple[np.ndarray, ...]) -> ImageStream:
    chunks = (
        rows[start : start + CHUNK].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        for rows in batches
        for start in range(0, len(rows), CHUNK)
    )
    return ImageStream((sum(map(len, batches)), SIDE, SIDE, 3), chunks)
