"""Files that are either whole or absent, whatever happens while they are written."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A binary file that appears under `path` only when it is complete.

    Args:
        path: the file.
        sync: wait until it is on the disk, so that it survives the machine's death and not the process's alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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
            error.filename = str(path)  # the name that people know; a write that fails gives none
        raise


def write_at(path: Path, *pieces: tuple[int, bytes]) -> None:
    """Write bytes into a file at given places, one after the other; what else it holds stays as it is."""
    try:
        with open(path, "wb", opener=lambda name, _: os.open(name, os.O_WRONLY | os.O_CREAT, 0o644)) as file:
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write UTF-8 text atomically."""
    with atomic_write(path, sync=sync) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Write readable JSON atomically; NaN must have been made null before."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", sync=sync)


def read_json(path: Path) -> Any | None:
    """The file's value, or None where there is no intact file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
