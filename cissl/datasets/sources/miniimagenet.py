"""mini-ImageNet (Vinyals et al., 2016) in the forms in which few-shot work hands it round.

- pickles per split, ``mini-imagenet-cache-{train,val,test}.pkl`` with ``image_data`` and ``class_dict``, or
  ``miniImageNet_category_split_{train_phase_train,val,test}.pickle`` with ``data`` and ``labels``;
- ``train.csv``, ``val.csv`` and ``test.csv`` (columns ``filename``, ``label``) beside a folder ``images``;
- image files in one folder per class, with or without folders ``train``, ``val`` and ``test`` around them.

Few-shot splits divide the 100 classes; here each class is divided instead: of its 600 images, in the order of the
source, the first 500 are for training and the last 100 for testing. Classes are in alphabetical order.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from cissl.datasets.sources.archives import load_pickle
from cissl.datasets.sources.folders import LeftOut, class_folders, images_in, innermost
from cissl.datasets.sources.image_files import image_stream, repeated_labels
from cissl.datasets.sources.source_files import existing, field, find, holding, images_of_shape, require_every_class
from cissl.datasets.store import ImageStream, SourceImages
from cissl.errors import UserError

Item = TypeVar("Item")
SIDE = 84
SPLITS = ("train", "val", "test")
CACHES = tuple(f"mini-imagenet-cache-{split}.pkl" for split in SPLITS)
CATEGORY_SPLITS = tuple(f"miniImageNet_category_split_{split}.pickle" for split in ("train_phase_train", "val", "test"))
TEST_PART = 6
"""One image in six of each class is for testing."""

Classes = Mapping[str, Sequence[Path | np.ndarray]]
"""Class name → its images: files, or arrays (84, 84, 3)."""


def read_miniimagenet(folder: Path) -> SourceImages:
    """Read a folder of images or of arrays, and divide each class into training and test images.

    Raises:
        UserError: it is no mini-ImageNet, or a file is damaged.
    """
    left_out = LeftOut(folder)
    classes = _read_classes(folder, left_out)
    names = sorted(classes)
    train, test = zip(*(_divided(classes[name]) for name in names), strict=True)
    return SourceImages(
        class_names=names,
        train_images=_stream(train),
        train_labels=repeated_labels(train),
        test_images=_stream(test),
        test_labels=repeated_labels(test),
        remarks=tuple(left_out.remarks()),
    )


def _read_classes(folder: Path, left_out: LeftOut) -> Classes:
    if root := find(folder, CACHES[0]):
        return _joined(_read_cache(existing(root / file)) for file in CACHES)
    if root := find(folder, CATEGORY_SPLITS[0]):
        return _joined(_read_category_split(existing(root / file)) for file in CATEGORY_SPLITS)
    if root := find(folder, "train.csv"):
        return _joined(_read_csv(existing(root / f"{split}.csv")) for split in SPLITS)
    return _read_folders(folder, left_out)


def _read_cache(path: Path) -> Classes:
    cache = load_pickle(path)
    images = images_of_shape(field(cache, "image_data", path), (None, SIDE, SIDE, 3), path)
    return {name: [images[index] for index in indices] for name, indices in field(cache, "class_dict", path).items()}


def _read_category_split(path: Path) -> Classes:
    split = load_pickle(path)
    images = images_of_shape(field(split, "data", path), (None, SIDE, SIDE, 3), path)
    names = {label: name for name, label in split.get("catname2label", {}).items()}
    classes: dict[str, list[np.ndarray]] = {}
    for image, label in zip(images, field(split, "labels", path), strict=True):
        classes.setdefault(str(names.get(label, f"{label:0>3}")), []).append(image)
    return classes


def _read_csv(path: Path) -> Classes:
    classes: dict[str, list[Path]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:  # Excel puts a byte-order mark first
        for row in csv.DictReader(file):
            image = path.parent / "images" / field(row, "filename", path)
            classes.setdefault(field(row, "label", path), []).append(existing(image))
    if not classes:
        raise UserError(f"{path} lists no images", key="from")
    return classes


def _read_folders(folder: Path, left_out: LeftOut) -> Classes:
    folder = innermost(folder, set(SPLITS), left_out)
    split_folders = [folder / split for split in SPLITS if (folder / split).is_dir()] or [folder]
    classes = _joined(
        {name: images_in(path, left_out) for name, path in class_folders(split, left_out).items()}
        for split in split_folders
    )
    require_every_class("image", [len(images) for images in classes.values()], list(classes))
    if not classes:
        raise UserError(f"{folder} has no folder of a class: {holding(folder)}", key="from")
    return classes


def _joined(parts: Iterable[Classes]) -> Classes:
    """The classes of several files; few-shot splits share none."""
    classes: dict[str, Sequence[Path | np.ndarray]] = {}
    for part in parts:
        if shared := classes.keys() & part.keys():
            raise UserError(
                f"class '{min(shared)}' occurs in two splits; few-shot splits have different classes", key="from"
            )
        classes.update(part)
    return classes


def _divided(images: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    first_test = len(images) - len(images) // TEST_PART
    return images[:first_test], images[first_test:]


def _stream(images_by_class: Sequence[Sequence[Path | np.ndarray]]) -> ImageStream:
    return image_stream(list(chain.from_iterable(images_by_class)), SIDE, channels=3)
