"""Prepared data sets on disk: one folder of ``.npy`` arrays and a ``meta.json`` for each.

    <data dir>/<name>/meta.json            title, class names, weak augmentation, source, SHA-256 of every array
                      train_images.npy     uint8 (N, H, W, C): labeled and unlabeled images alike
                      train_labels.npy     int64 (N,), -1 where the class is unknown
                      test_images.npy      uint8 (M, H, W, C)
                      test_labels.npy      int64 (M,)
                      folds.npy            int64 (folds, size), only where the data set defines labeled splits

The content hash of a data set stands for all that training and figures see of it. It follows from what
``meta.json`` says, so that it is known without reading an image, and is the same for the same images prepared twice.

Arrays are opened with ``mmap``: opening takes milliseconds whatever the size, and all trials of a node share
one copy through the page cache. `cissl.datasets.writing` makes these folders.
"""

import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict, cast

import numpy as np

from cissl.errors import UserError

META = "meta.json"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "folds")
_NEEDED: dict[str, Callable[[Any], bool]] = {
    "class_names": lambda names: isinstance(names, list) and all(isinstance(name, str) for name in names),
    "mirror": lambda mirror: isinstance(mirror, bool),
    "shift": lambda shift: isinstance(shift, int),
    "files": lambda files: (
        isinstance(files, dict) and all(isinstance(facts, dict) and "sha256" in facts for facts in files.values())
    ),
}
"""Key of ``meta.json`` → whether its value is one that the rest can use."""


class FileFacts(TypedDict):
    """What ``meta.json`` says of one array's file."""

    sha256: str
    shape: list[int]
    dtype: str


class Seen(TypedDict):
    """What training and figures see of a data set beside its arrays."""

    class_names: list[str]
    mirror: bool
    shift: int


class _AlwaysInMeta(Seen):
    files: dict[str, FileFacts]


class Meta(_AlwaysInMeta, total=False):
    """``meta.json``; all of the optional part is for people."""

    remarks: list[str]
    title: str
    source: str
    reading: dict[str, object]


class UnfitImages(UserError):
    """Images that cannot be taken: all of a data set at once, so that a person can mend them in one go.

    Args:
        complaints: path, what is wrong as the end of a sentence, and how to mend all such images.
    """

    def __init__(self, complaints: Sequence[tuple[Path, str, str]]):
        self.complaints = list(complaints)
        mends = "; ".join(dict.fromkeys(mend for *_, mend in self.complaints))
        lines = [f"{path} {complaint}" for path, complaint, _ in self.complaints]
        if len(lines) == 1:
            message = f"{lines[0]}; {mends}"
        else:
            message = "\n  ".join([f"{len(lines)} images cannot be taken; {mends}:", *lines])
        super().__init__(message, key="path")

    @classmethod
    def joined(cls, several: Iterable["UnfitImages"]) -> "UnfitImages":
        """One error for the images of several."""
        return cls([complaint for unfit in several for complaint in unfit.complaints])


@dataclass(frozen=True)
class ImageStream:
    """Images that are made while they are written, since together they may exceed the memory."""

    shape: tuple[int, int, int, int]
    """(N, H, W, C)"""
    chunks: Iterable[np.ndarray]
    """uint8 (n, H, W, C), together N images; to be consumed once; at its end it may raise `UnfitImages`"""
    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Size of all images in bytes."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class SourceImages:
    """A whole data set as a reader finds it, before it is written."""

    class_names: list[str]
    mirror: bool = False
    """Weak augmentation mirrors half of the images."""
    shift: int = 0
    """Weak augmentation shifts by up to this many pixels."""
    train_images: np.ndarray | ImageStream
    """uint8 (N, H, W, C)"""
    train_labels: np.ndarray
    """int64 (N,), -1 where the class is unknown"""
    test_images: np.ndarray | ImageStream
    """uint8 (M, H, W, C)"""
    test_labels: np.ndarray
    """int64 (M,)"""
    folds: np.ndarray | None = None
    """int64 (folds, size): labeled splits that the data set itself defines"""
    remarks: tuple[str, ...] = ()
    """What a person should know of how they were read, such as what was left out"""
    reading: Mapping[str, object] = field(default_factory=dict)
    """How image files became arrays, as arguments of `image_files.Reading`; empty where they were arrays already"""


@dataclass(frozen=True, kw_only=True)
class Images(SourceImages):
    """A whole data set that training can read, before a split is chosen; shapes are those of `SourceImages`."""

    train_images: np.ndarray
    test_images: np.ndarray
    content_hash: str
    """See `content_hash`"""


def data_directory(data_dir: Path | str | None = None) -> Path:
    """Where prepared data live: the argument, else ``$ML_DATA``, else ``~/.cache/cissl``.

    Raises:
        UserError: it begins with the home of a user that there is not.
    """
    given = data_dir or os.environ.get("ML_DATA") or "~/.cache/cissl"
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # ~name of a user that there is not
        raise UserError(f"{given}: {error}", key="data_dir") from None


def is_prepared(name: str, data_dir: Path) -> bool:
    """Whether a data set has been prepared in this folder."""
    return (data_dir / name / META).is_file()


def prepared_names(data_dir: Path) -> list[str]:
    """The names of all data sets that have been prepared in this folder, sorted."""
    return sorted(meta.parent.name for meta in data_dir.glob(f"[!.]*/{META}"))


def read_meta(name: str, data_dir: Path) -> Meta:
    """What ``meta.json`` says of a prepared data set.

    Raises:
        UserError: it cannot be read, or lacks a part.
    """
    try:
        meta: Any = json.loads((data_dir / name / META).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(name, data_dir, error) from error
    if missing := [key for key, holds in _NEEDED.items() if not isinstance(meta, dict) or not holds(meta.get(key))]:
        raise _damaged(name, data_dir, f"{META} has no sound {', '.join(missing)}")
    return cast(Meta, meta)  # which has just been looked at


def open_images(name: str, data_dir: Path) -> Images:
    """A prepared data set, its arrays mapped into memory and, but for the labels, not read.

    Raises:
        UserError: its files are damaged, or others than those that were prepared.
    """
    meta = read_meta(name, data_dir)
    described = {file.removesuffix(".npy"): facts for file, facts in meta["files"].items()}
    try:
        arrays = {
            array: np.load(data_dir / name / f"{array}.npy", mmap_mode="r")
            for array in ARRAYS
            if array != "folds" or "folds" in described
        }
    except Exception as error:  # a damaged head of an array can raise anything, such as tokenize.TokenError
        raise _damaged(name, data_dir, error) from error
    for array, found in arrays.items():
        wanted = described.get(array)
        if wanted is None or [*found.shape] != wanted.get("shape") or found.dtype.name != wanted.get("dtype"):
            raise _damaged(name, data_dir, f"{array}.npy is not the array that {META} describes")
    for array in ("train_labels", "test_labels"):
        labels = arrays[array]
        if labels.size and not -1 <= labels.min() <= labels.max() < len(meta["class_names"]):  # -1: of unknown class
            raise _damaged(name, data_dir, f"{array}.npy has labels of classes that there are not")
    seen = Seen(class_names=meta["class_names"], mirror=meta["mirror"], shift=meta["shift"])
    sha256_of = {array: described[array]["sha256"] for array in arrays}
    return Images(
        **seen,
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"],
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"],
        folds=arrays.get("folds"),
        content_hash=content_hash(sha256_of=sha256_of, **seen),
        remarks=tuple(meta.get("remarks", ())),
        reading=meta.get("reading", {}),
    )


def content_hash(*, sha256_of: Mapping[str, str], class_names: list[str], mirror: bool, shift: int) -> str:
    """12 hexadecimal digits that stand for all that training and figures see of a data set.

    Args:
        sha256_of: SHA-256 of the ``.npy`` file of each array.
        class_names: what the labels mean.
        mirror: whether weak augmentation mirrors.
        shift: pixels by which weak augmentation shifts.
    """
    seen = {"arrays": dict(sha256_of), "class_names": class_names, "mirror": mirror, "shift": shift}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:12]


def npy_sha256(array: np.ndarray) -> str:
    """SHA-256 of the ``.npy`` file that an array of any shape would be written to."""
    file = io.BytesIO()
    np.save(file, array)
    return hashlib.sha256(file.getbuffer()).hexdigest()


def _damaged(name: str, data_dir: Path, error: Exception | str) -> UserError:
    return UserError(
        f"the prepared data in {data_dir / name} cannot be read ({error}); delete that folder and prepare "
        f"'{name}' again",
        key="dataset",
    )
