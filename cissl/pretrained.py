"""Files of pretrained weights, named ``file.pth@SHA256`` in records: what counts is a file's content, not its place.

A process first *registers* a file, which is where its content is read, and then finds it by that name.
"""

import functools
import hashlib
import os
import re
from pathlib import Path

from cissl.errors import UserError

NAME = re.compile(r"[^/\\]+@[0-9a-f]{64}")
CHUNK = 2**22  # bytes

_places: dict[str, Path] = {}


def is_name(text: str) -> bool:
    """Whether a text is a file's name with its SHA-256, and not a path."""
    return NAME.fullmatch(text) is not None


def register(text: str, folder: Path) -> str:
    """Make a file known, and return its name.

    Args:
        text: its path, relative to `folder`; a name is returned as it is.
        folder: where the path is written.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    if is_name(text):
        return text
    path = (folder / Path(text).expanduser()).absolute()
    try:
        facts = os.stat(path)
        name = f"{path.name}@{_sha256(path, facts.st_size, facts.st_mtime_ns)}"
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read: {error.strerror}", key="weights") from None
    _places[name] = path
    return name


def places(names: set[str]) -> dict[str, Path]:
    """Name → path of those among the names that this process knows."""
    return {name: _places[name] for name in names if name in _places}


def place(name: str) -> Path:
    """Where the file of this name is, its content compared.

    Raises:
        UserError: it is not known, or has another content.
    """
    path = _places.get(name)
    if path is None:
        raise UserError(f"weights {name}: this process was not told where that file is", key="weights")
    if register(str(path), path.parent) != name:
        raise UserError(f"weights {path}: its content is another than that of {name}", key="weights")
    return path


def know(found: dict[str, Path]) -> None:
    """Take over what another process knows; contents are compared when a file is used."""
    _places.update(found)


@functools.lru_cache
def _sha256(path: Path, size: int, time: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
