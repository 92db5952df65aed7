"""Files that are never seen half written: a new version takes the old one's place when it is complete."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A binary file to write to; it appears at `path` when it is complete. After an error `path` is as it was before.

    Args:
        path: the file; its folder is made.
        sync: wait until it is on the disk. Then it survives a crash of the machine, and not only of this process.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A part of the name: with all of it, the longest that a file may have would become too long.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        error.filename = str(path)
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide results from a shared group
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = str(path)  # people know this name; an error of `write` itself has none
        raise


def write_output(path: Path, data: bytes) -> None:
    """Write what a person asked for: a file as a whole, so that an older one stays if this fails.

    What is there and no regular file, such as a link, a pipe or ``/dev/stdout``, is written to and not replaced.

    Raises:
        OSError: it cannot be written; `filename` is the path.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        try:
            path.write_bytes(data)
        except OSError as error:
            error.filename = str(path)
            raise
    else:
        with atomic_write(path) as file:
            file.write(data)


def write_at(path: Path, *pieces: tuple[int, bytes]) -> None:
    """Write bytes into a file, one piece after the other; all other bytes of the file stay as they are.

    Args:
        path: the file; it is made where there is none.
        pieces: (offset in bytes, what to write there).

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    try:
        with open(path, "wb", opener=lambda name, _: os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)) as file:
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk.

    Raises:
        OSError: the file cannot be opened, or the disk refuses it.
    """
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write UTF-8 text atomically; see `atomic_write`."""
    with atomic_write(path, sync=sync) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Write indented JSON atomically; see `atomic_write`.

    Raises:
        ValueError: `value` has NaN or an infinity, which JSON cannot express; see `records.without_nan`.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", sync=sync)


def read_json(path: Path) -> Any | None:
    """The value that a JSON file holds; None if the file is missing or damaged.

    Raises:
        OSError: the file exists and cannot be read, so that its content is not known.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
