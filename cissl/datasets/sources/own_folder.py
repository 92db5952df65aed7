"""Images of one's own: a folder of image files by class.

PATH/train/<class>/*    PATH/test/<class>/*    PATH/unlabeled/*   (optional)

Folders may be nested below a class. ``val`` is the test set where there is no ``test``, as ImageNet's is.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from cissl.datasets.sources.folders import LeftOut, class_folders, folders_in, images_in, innermost
from cissl.datasets.sources.image_files import Reading, common_shape, image_stream, repeated_labels
from cissl.datasets.sources.source_files import holding, require_every_class
from cissl.datasets.store import SourceImages
from cissl.errors import UserError

VALIDATION = ("val", "valid", "validation")
PARTS = {"train", "test", "unlabeled", *VALIDATION}
EXPECTED = "wanted are train/<class>/ and test/<class>/ with images, and optionally unlabeled/"


def read_folder(folder: Path, reading: Reading | None = None) -> SourceImages:
    """Classes are the folders of ``train`` in alphabetical order; images are in the order of their names.

    Raises:
        UserError: a folder is missing, a class has no image, or images are unreadable or of several sizes.
    """
    reading, left_out = reading or Reading(), LeftOut(folder)
    parts, remarks = _parts(folder, left_out)
    train = {name: images_in(path, left_out) for name, path in class_folders(parts["train"], left_out).items()}
    if not train:
        raise UserError(f"{parts['train']} has no folder of a class: {holding(parts['train'])}; {EXPECTED}", key="path")
    test = _test_images(parts["test"], list(train), left_out)
    unlabeled = images_in(parts["unlabeled"], left_out) if "unlabeled" in parts else []
    for what, by_class in (("training image", train), ("test image", test)):
        require_every_class(what, [len(images) for images in by_class.values()], list(train))
    train_files, test_files = [*sum(train.values(), []), *unlabeled], sum(test.values(), [])
    side, channels, about_images = common_shape([*train_files, *test_files], reading)
    return SourceImages(
        class_names=list(train),
        train_images=image_stream(train_files, side, channels, reading),
        train_labels=np.concatenate([repeated_labels(list(train.values())), np.full(len(unlabeled), -1)]),
        test_images=image_stream(test_files, side, channels, reading),
        test_labels=repeated_labels(list(test.values())),
        remarks=(*remarks, *about_images, *left_out.remarks()),
        reading={key: value for key, value in dataclasses.asdict(reading).items() if key != "side"},
    )


def _parts(folder: Path, left_out: LeftOut) -> tuple[dict[str, Path], list[str]]:
    """The folders ``train``, ``test`` and, if it is there, ``unlabeled``; capitals and small letters are the same."""
    folder, remarks = innermost(folder, PARTS, left_out), []
    parts: dict[str, Path] = {}
    for path in folders_in(folder, left_out, "beside the folders of images"):
        part = path.name.lower()
        if part not in PARTS:
            left_out.add(path, f"{_files_in(path)} files; {EXPECTED}")
        elif part in parts:
            raise UserError(f"{parts[part]} and {path} have the same name but for capitals: join them", key="path")
        else:
            parts[part] = path
    validation = [parts.pop(name) for name in VALIDATION if name in parts]
    if "test" not in parts and len(validation) == 1:
        parts["test"] = validation.pop()
        remarks.append(f"there is no test/: {parts['test'].name}/ is the test set")
    for path in validation:
        left_out.add(path, f"{_files_in(path)} files; validation images are taken from the training images")
    for part in ("train", "test"):
        if part not in parts:
            raise UserError(f"there is no folder {folder / part}: {holding(folder)}; {EXPECTED}", key="path")
    return parts, remarks


def _test_images(folder: Path, names: list[str], left_out: LeftOut) -> dict[str, list[Path]]:
    """Class name → its test images, in the order of the training classes."""
    folders = class_folders(folder, left_out)
    found = {name: images_in(path, left_out) for name, path in folders.items()}
    for name, path in folders.items():
        if name not in names and not found[name]:
            left_out.add(path, "no images")
    if others := [name for name, images in found.items() if images and name not in names]:
        raise UserError(
            f"{', '.join(map(repr, others))} of {folder} {'is' if len(others) == 1 else 'are'} not among the training "
            f"classes ({holding(folder.parent / 'train')})",
            key="path",
        )
    return {name: found.get(name, []) for name in names}


def _files_in(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))
