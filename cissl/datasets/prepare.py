"""Bringing data sets into the data directory: official distributions, and images of one's own."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from http.client import HTTPException
from pathlib import Path

import numpy as np

from cissl.datasets import splits, store, writing
from cissl.datasets.catalog import KNOWN, OFFICIAL_MD5, KnownDataset
from cissl.datasets.sources import READERS, archives, npz, own_folder
from cissl.datasets.sources.image_files import SMALLEST_SIDE, Reading
from cissl.datasets.sources.source_files import require_every_class
from cissl.datasets.spec import NAME
from cissl.datasets.store import SourceImages
from cissl.errors import UserError, nearest

LONGEST_NAME = 64  # letters; the names of trials and their folders begin with it


def prepare(
    name: str, data_dir: Path | str | None = None, *, source: Path | None = None, unofficial: bool = False
) -> bool:
    """Prepare a data set of the catalog, unless it is there already.

    Args:
        data_dir: by default ``$ML_DATA``, else ``~/.cache/cissl``.
        source: archive or folder of an official distribution; without it, download one.
        unofficial: take a source whose checksum or number of images is not the official one.

    Returns:
        Whether it had to be prepared.

    Raises:
        UserError: the name is unknown, the source is unfit, or the disk is too small; nothing is left behind.
    """
    known, data_dir = _known(name), store.data_directory(data_dir)
    if known.embedded or store.is_prepared(name, data_dir):
        return False
    with writing.locked(name, data_dir):
        if store.is_prepared(name, data_dir):  # by the process that had the lock
            return False
        with writing.new_dataset(name, data_dir) as workplace:
            if not unofficial:  # unpacked files and arrays, and the archive itself if it is yet to come
                writing.require_space(data_dir, known.nbytes * (2 if source else 3))
            source = source or _download(known, data_dir)
            md5 = None if unofficial else OFFICIAL_MD5.get(source.name)
            with archives.opened(source, workplace, md5) as (folder, remarks):
                images = replace(_read_official(name, folder), mirror=known.mirror, shift=known.shift)
                if not unofficial:
                    _require_official(images, known, folder)
                images = replace(images, remarks=(*remarks, *images.remarks))
                _write(workplace, images, title=known.title, source=source)
        shutil.rmtree(_downloads(known, data_dir), ignore_errors=True)
    return True


def import_images(
    name: str,
    path: Path,
    data_dir: Path | str | None = None,
    *,
    mirror: bool = True,
    shift: int | None = None,
    reading: Reading | None = None,
) -> None:
    """Make a data set of a folder of images by class, an archive of one, or an ``.npz`` file.

    Args:
        name: what specs will call it; lower case, and not the name of a known data set.
        mirror: weak augmentation mirrors half of the images.
        shift: weak augmentation shifts by up to this many pixels; by default side ÷ 8.
        reading: how image files become arrays; None for an ``.npz`` file.

    Raises:
        UserError: the name is taken or has another form, or the images are unfit; nothing is left behind.
    """
    data_dir = store.data_directory(data_dir)
    _require_free_name(name)
    with writing.locked(name, data_dir):
        if store.is_prepared(name, data_dir):
            raise UserError(
                f"there is a data set '{name}' in {data_dir}; choose another name, or delete {data_dir / name}",
                key="name",
            )
        with writing.new_dataset(name, data_dir) as workplace:
            with _opened(path, workplace, reading) as images:
                _write(workplace, _weak(images, mirror, shift), title=name, source=path)


def require_sound(images: SourceImages) -> None:
    """Check what every data set must satisfy.

    Raises:
        UserError: it has an image or label that training could not use.
    """
    shape, test_shape, classes = images.train_images.shape, images.test_images.shape, len(images.class_names)
    if shape[1] != shape[2] or shape[1] < SMALLEST_SIDE or shape[3] not in (1, 3):
        raise UserError(
            f"the images have height {shape[1]}, width {shape[2]} and {shape[3]} channels; wanted are "
            f"squares of at least {SMALLEST_SIDE} pixels with 1 or 3 channels",
            key="path",
        )
    if shape[1:] != test_shape[1:]:
        raise UserError(f"training images are {shape[1:]}, but test images {test_shape[1:]}", key="path")
    if classes < 2 or len(set(images.class_names)) < classes:
        raise UserError(
            f"wanted are two or more classes of different names, but these are {images.class_names}", key="path"
        )
    _require_labels("training", images.train_labels, shape[0], -1, classes)
    _require_labels("test", images.test_labels, test_shape[0], 0, classes)
    for what, labels in (("training image", images.train_labels), ("test image", images.test_labels)):
        require_every_class(what, splits.class_counts(labels, classes).tolist(), images.class_names)
    if images.folds is not None:
        _require_labels("fold", np.append(images.train_labels, -1)[images.folds.ravel()], images.folds.size, 0, classes)


def _require_labels(what: str, labels: np.ndarray, images: int, lowest: int, classes: int) -> None:
    if not 0 < images == len(labels):
        raise UserError(f"there are {images} {what} images, but {len(labels)} {what} labels", key="path")
    outside = np.flatnonzero((labels < lowest) | (labels >= classes))
    if len(outside):
        raise UserError(
            f"the label of {what} image {outside[0]} is {labels[outside[0]]}, but the {classes} classes "
            f"are 0 to {classes - 1}",
            key="path",
        )


def _known(name: str) -> KnownDataset:
    if name not in KNOWN:
        raise UserError(
            f"unknown data set '{name}' (for images of your own run: python -m cissl.datasets import "
            f"{name} PATH){nearest(name, KNOWN)}",
            key="name",
        )
    return KNOWN[name]


def _require_free_name(name: str) -> None:
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        raise UserError(
            f"'{name}' cannot be the name of a data set: it begins with a lower-case letter and has lower-"
            f"case letters, digits, _ and - only, {LONGEST_NAME} at most",
            key="name",
        )
    if name in KNOWN:
        raise UserError(
            f"'{name}' is the name of {KNOWN[name].title}, whose results are compared by that name; choose another for "
            f"images of your own" + ("" if KNOWN[name].embedded else f", or run: prepare {name} --from PATH"),
            key="name",
        )


@contextmanager
def _opened(path: Path, workplace: Path, reading: Reading | None) -> Iterator[SourceImages]:
    """The images of an ``.npz`` file, a folder, or an archive of a folder; they may be read until the block ends."""
    if path.suffix.lower() == ".npz" and not path.is_dir():
        if reading is not None:
            flags = ", ".join(f"--{field.name}" for field in fields(Reading))
            raise UserError(
                f"{path}: the arrays of an .npz file are taken as they are; {flags} are for image files. "
                "Resize or convert the arrays before they are saved"
            )
        yield npz.read_npz(path)
    else:
        with archives.opened(path, workplace) as (folder, remarks):
            images = own_folder.read_folder(folder, reading)
            yield replace(images, remarks=(*remarks, *images.remarks))


def _weak(images: SourceImages, mirror: bool, shift: int | None) -> SourceImages:
    """The images with their weak augmentation."""
    side = images.train_images.shape[1]
    shift = side // 8 if shift is None else shift
    if not 0 <= shift < side:
        raise UserError(f"a shift by {shift} pixels is impossible with images of {side} pixels", key="shift")
    return replace(images, mirror=mirror, shift=shift)


def _read_official(name: str, folder: Path) -> SourceImages:
    try:
        return READERS[name](folder)
    except (UserError, OSError):
        raise
    except Exception as error:  # files of another content can raise anything
        raise UserError(
            f"{folder} cannot be read as {KNOWN[name].title} ({type(error).__name__}: {error}); give the folder or "
            f"archive of an official distribution",
            key="from",
        ) from error


def _write(workplace: Path, images: SourceImages, *, title: str, source: Path) -> None:
    require_sound(images)
    writing.write(workplace / "prepared", images, {"title": title, "source": source.name})


def _require_official(images: SourceImages, known: KnownDataset, folder: Path) -> None:
    """Refuse a source with another number of classes or images, or with a file of another checksum."""
    for path in folder.iterdir():
        if path.suffix == ".mat" and path.name in OFFICIAL_MD5:
            archives.require_checksum(path, archives.md5_of(path), OFFICIAL_MD5[path.name])
    found = len(images.class_names), images.train_images.shape[0], images.test_images.shape[0]
    expected = known.classes, known.train + known.unlabeled, known.test
    if found != expected:
        raise UserError(
            "{} has {} classes, {} training and {} test images, but the source has {}, {} and {}; add "
            "--unofficial to take it all the same".format(known.title, *expected, *found),
            key="from",
        )


def _download(known: KnownDataset, data_dir: Path) -> Path:
    """Fetch the official files; finished ones are kept until the data set is prepared.

    Returns:
        The archive, or the folder of several files.
    """
    if not known.downloads:
        raise UserError(
            f"{known.title} has no public download; give the images that you have: python -m "
            f"cissl.datasets prepare {known.name} --from PATH",
            key="name",
        )
    from torchvision.datasets.utils import download_url  # slow to import, and needed here alone

    folder = _downloads(known, data_dir)
    for url in known.downloads:
        file = url.rsplit("/", 1)[1]
        try:
            download_url(url, folder, file, OFFICIAL_MD5[file])
        except (OSError, HTTPException, RuntimeError) as error:  # torchvision: RuntimeError for a wrong checksum
            raise UserError(
                f"{url} cannot be downloaded ({error}); try again, or fetch it by other means and run: "
                f"python -m cissl.datasets prepare {known.name} --from {file}",
                key="name",
            ) from error
    return folder if len(known.downloads) > 1 else folder / file


def _downloads(known: KnownDataset, data_dir: Path) -> Path:
    return data_dir / f".{known.name}.downloads"
