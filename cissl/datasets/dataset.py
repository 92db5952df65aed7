"""A data set with its split, as training sees it."""

import hashlib
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cissl.datasets import embedded, splits, store
from cissl.datasets.catalog import KNOWN
from cissl.datasets.spec import DatasetSpec, parse_spec
from cissl.errors import UserError, nearest

EMBEDDED = {"digits": embedded.digits}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images, labels and the indices of a split; arrays may be read-only maps of files."""

    spec: DatasetSpec
    name: str
    class_names: list[str]
    images: np.ndarray
    """uint8 (N, H, W, C): training images, labeled and unlabeled alike"""
    labels: np.ndarray
    """int64 (N,), -1 where the class is unknown"""
    labeled: np.ndarray
    """int64 indices of the labeled images, sorted"""
    unlabeled: np.ndarray
    """int64 indices of the unlabeled images in stream order, without the validation images"""
    valid: np.ndarray
    """int64 indices of the validation images"""
    test_images: np.ndarray
    """uint8 (M, H, W, C)"""
    test_labels: np.ndarray
    """int64 (M,)"""
    mirror: bool
    """Weak augmentation mirrors half of the images."""
    shift: int
    """Weak augmentation shifts by up to this many pixels."""
    reading: Mapping[str, object]
    """How image files became arrays, as arguments of `image_files.Reading`; empty where they were arrays already"""
    content_hash: str
    """12 hexadecimal digits that stand for all images, labels, class names and the weak augmentation: a data set that
    was prepared or imported again with other content has another one."""

    @property
    def classes(self) -> int:
        """Number of classes (C)."""
        return len(self.class_names)

    @property
    def side(self) -> int:
        """Height and width of an image in pixels."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """Channels of an image, 1 or 3."""
        return int(self.images.shape[3])

    @property
    def labeled_counts(self) -> list[int]:
        """Labeled images of each class."""
        return list(map(int, splits.class_counts(self.labels[self.labeled], self.classes)))

    @property
    def unlabeled_counts(self) -> list[int]:
        """Unlabeled images of each class; those whose class is unknown are not counted."""
        return list(map(int, splits.class_counts(self.labels[self.unlabeled], self.classes)))

    @cached_property
    def valid_labeled(self) -> int:
        """How many of the validation images are labeled too, so that a figure on them is partly one of training.

        Only where there are none may anything be chosen by validation images. This number is in a trial's records,
        for those who choose later.
        """
        return len(np.intersect1d(self.valid, self.labeled))

    @cached_property
    def split_hash(self) -> str:
        """12 hexadecimal digits that stand for the labeled, validation and unlabeled indices, in order."""
        digest = hashlib.sha256()
        for indices in (self.labeled, self.valid, self.unlabeled):
            digest.update(len(indices).to_bytes(8, "little"))
            digest.update(indices.astype("<i8").tobytes())
        return digest.hexdigest()[:12]


def load(spec: str | DatasetSpec, data_dir: Path | str | None = None) -> Dataset:
    """The data set and split that a spec such as ``cifar10_LT_20.1@20-1`` names.

    Args:
        data_dir: where prepared data live; by default ``$ML_DATA``, else ``~/.cache/cissl``.

    Raises:
        UserError: the spec is malformed, the data are unknown or not prepared, or they cannot fill the split.
    """
    spec = spec if isinstance(spec, DatasetSpec) else parse_spec(spec)
    images = _images(spec.name, store.data_directory(data_dir))
    try:
        return _split(spec, images)
    except UserError as error:
        raise UserError(f"{spec}: {error}", key="dataset") from None


def _images(name: str, data_dir: Path) -> store.Images:
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if store.is_prepared(name, data_dir):
        return store.open_images(name, data_dir)
    if name in KNOWN:
        raise UserError(
            f"the data set '{name}' is not in {data_dir} on {socket.gethostname()}; run there: "
            f"python -m cissl.datasets prepare {name} --data-dir {shlex.quote(str(data_dir))}",
            key="dataset",
        )
    known = {*KNOWN, *store.prepared_names(data_dir)}
    raise UserError(
        f"unknown data set '{name}' (for images of your own run: python -m cissl.datasets import "
        f"{name} PATH){nearest(name, known)}",
        key="dataset",
    )


def _split(spec: DatasetSpec, images: store.Images) -> Dataset:
    labels = np.asarray(images.train_labels)
    ranked, class_names = _ranked(spec, labels, images.class_names)
    labeled = _labeled(spec, images, labels)
    order = splits.unlabeled_order(
        ranked,
        imbalance_ratio=spec.unlabeled_ratio,
        shape=spec.unlabeled_shape,
        largest=spec.unlabeled_largest,
        leave_out=labeled if spec.disjoint else None,
        class_names=class_names,
    )
    valid, unlabeled = splits.cut_validation(order, spec.valid, labels, leave_out=labeled if spec.held_out else None)
    return Dataset(
        spec=spec,
        name=spec.name,
        class_names=images.class_names,
        mirror=images.mirror,
        shift=images.shift,
        images=images.train_images,
        labels=labels,
        labeled=labeled,
        unlabeled=unlabeled,
        valid=valid,
        test_images=images.test_images,
        test_labels=np.asarray(images.test_labels),
        reading=images.reading,
        content_hash=images.content_hash,
    )


def _labeled(spec: DatasetSpec, images: store.Images, labels: np.ndarray) -> np.ndarray:
    folds = images.folds
    if folds is not None and not spec.shapes_labels and spec.size == folds.shape[1]:
        if spec.seed >= len(folds):
            raise UserError(
                f"there is no fold {spec.seed}: the seed of a split of {spec.size} labels "
                f"chooses one of the data set's own folds, 0 to {len(folds) - 1}",
                key="dataset",
            )
        return np.sort(np.asarray(folds[spec.seed]))
    return draw_labeled(spec, labels, images.class_names)


def draw_labeled(spec: DatasetSpec, labels: np.ndarray, class_names: Sequence[str] | None = None) -> np.ndarray:
    """The labeled images of a split, sorted int64 indices into ``labels`` (N,), which are -1 where unknown.

    Raises:
        UserError: a class has too few images.
    """
    labels, class_names = _ranked(spec, labels, class_names)
    return splits.labeled_indices(
        labels,
        size=spec.size,
        seed=spec.seed,
        imbalance_ratio=spec.imbalance_ratio,
        largest=spec.largest,
        random=spec.random,
        keep_back=spec.valid if spec.disjoint or spec.held_out else 0,
        class_names=class_names,
    )


def _ranked(
    spec: DatasetSpec, labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, Sequence[str] | None]:
    """Labels and names of classes in the order in which a long tail takes them."""
    if not spec.by_size:
        return labels, class_names
    labels, order = splits.ranked_by_size(labels)
    return labels, class_names and [class_names[k] for k in order]
