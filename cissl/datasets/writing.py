"""How a prepared data set comes to be on the disk: whole, once, and checked.

Everything is written to a hidden folder that takes the data set's name when it is complete, under a lock that
keeps two processes, or two trials of a node, from preparing the same data set at once.
"""

import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from cissl.datasets.progress_bar import progress
from cissl.datasets.store import ARRAYS, META, FileFacts, ImageStream, SourceImages, UnfitImages, read_meta
from cissl.errors import UserError

CHUNK_BYTES = 4 * 2**20

log = logging.getLogger(__name__)


@contextmanager
def locked(name: str, data_dir: Path) -> Iterator[None]:
    """Within, hold the data set's lock; wait for another process that holds it.

    Raises:
        UserError: the folder cannot be written to.
    """
    lock = FileLock(data_dir / f".{name}.lock")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("waiting for another process that prepares '%s' in %s", name, data_dir)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"nothing can be written to {data_dir} ({error}); choose another --data-dir, or set $ML_DATA",
            key="data_dir",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_dataset(name: str, data_dir: Path) -> Iterator[Path]:
    """A folder to work in, whose subfolder ``prepared`` becomes the data set if the block ends well.

    To be entered with the lock held: what an interrupted preparation left behind is removed first.

    Raises:
        UserError: something else has that name, or the disk refused.
    """
    if os.path.lexists(data_dir / name):
        raise UserError(
            f"{data_dir / name} is there and is no prepared data set; move it, or choose another name or --data-dir",
            key="data_dir",
        )
    workplace = data_dir / f".{name}.partial"
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        (workplace / "prepared").mkdir(parents=True)
        yield workplace
        os.replace(workplace / "prepared", data_dir / name)
    except OSError as error:
        raise UserError(f"'{name}' was not prepared, and nothing of it was kept: {error}", key="dataset") from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def write(folder: Path, images: SourceImages, described: Mapping[str, object]) -> None:
    """Write the arrays and, last of all, ``meta.json`` with what ``described`` says and every array's SHA-256.

    Raises:
        UserError: the disk is too small.
        UnfitImages: a stream could not give all of its images.
    """
    arrays = {name: getattr(images, name) for name in ARRAYS if getattr(images, name) is not None}
    require_space(folder, sum(array.nbytes for array in arrays.values()))
    files, unfit = {}, []
    for name, array in arrays.items():
        try:
            files[f"{name}.npy"] = _write_npy(folder / f"{name}.npy", array)
        except UnfitImages as error:  # the others may have such images too
            unfit.append(error)
    if unfit:
        raise UnfitImages.joined(unfit)
    meta = {
        "class_names": images.class_names,
        "mirror": images.mirror,
        "shift": images.shift,
        "remarks": images.remarks,
        "reading": dict(images.reading),
        **described,
        "files": files,
    }
    (folder / META).write_text(json.dumps(meta, indent=2) + "\n")


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        needed: in bytes.

    Raises:
        UserError: the disk has less space.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{needed / 1e9:.2f} GB are needed in {folder}, but only {free / 1e9:.2f} GB are free; make "
            f"room or choose another --data-dir",
            key="data_dir",
        )


def verify(name: str, data_dir: Path) -> list[str]:
    """Recompute the SHA-256 of every array; the names of the files that were checked.

    Raises:
        UserError: a file is missing or has changed.
    """
    files = read_meta(name, data_dir)["files"]
    for file, expected in files.items():
        path = data_dir / name / file
        if not path.is_file():
            raise UserError(f"{path} is missing; delete {path.parent} and prepare '{name}' again", key="dataset")
        found = _sha256(path)
        if found != expected["sha256"]:
            raise UserError(
                f"{path} has changed since it was prepared (SHA-256 {found}, expected {expected['sha256']}"
                f"); delete {path.parent} and prepare '{name}' again",
                key="dataset",
            )
    return list(files)


def _write_npy(path: Path, array: np.ndarray | ImageStream) -> FileFacts:
    """Write one array, hashing each chunk while the next one is made; its SHA-256, shape and dtype."""
    digest = hashlib.sha256()
    with open(path, "wb") as file, ThreadPoolExecutor(1) as hasher, progress(path.stem, array.shape[0]) as bar:
        header = _npy_header(array)
        file.write(header)
        hashed = hasher.submit(digest.update, header)
        for chunk in _chunks(array):
            block = np.ascontiguousarray(chunk).data
            file.write(block)
            hashed.result()
            hashed = hasher.submit(digest.update, block)
            bar.update(len(chunk))
        hashed.result()
    written = path.stat().st_size
    assert written == len(header) + array.nbytes, f"{written} bytes do not hold an array of shape {array.shape}"
    return {"sha256": digest.hexdigest(), "shape": list(array.shape), "dtype": array.dtype.name}


def _npy_header(array: np.ndarray | ImageStream) -> bytes:
    described = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _chunks(array: np.ndarray | ImageStream) -> Iterable[np.ndarray]:
    if isinstance(array, ImageStream):
        return array.chunks
    count = max(1, CHUNK_BYTES * len(array) // max(array.nbytes, 1))
    return (array[start : start + count] for start in range(0, len(array), count))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file, progress(path.stem, path.stat().st_size, unit="B") as bar:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
