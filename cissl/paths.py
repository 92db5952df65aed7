"""Folders that people name, and messages for files that cannot be read or written."""

import argparse
import errno
import re
from pathlib import Path

from cissl.errors import UserError

MEANT_AS_URI = re.compile(r"([A-Za-z][\w+.-]+):|(s3|gs|gcs|hdfs|abfss?|file)//")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def local_folder(name: str, text: str) -> Path:
    """The absolute path of a folder on this machine.

    Args:
        name: name of the option or setting that gives it, for the message.
        text: its value; ``~`` is the home folder.

    Raises:
        UserError: it cannot be a folder, or it looks like the URI of an object store.
    """
    if not text.strip() or "\0" in text:
        raise UserError(f"{name} '{text}': this is no path of a folder")
    if MEANT_AS_URI.match(text):
        raise UserError(f"{name} {text}: this has to be a folder of this machine, one of that name is ./{text}")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise UserError(f"{name} {text}: there is no such user, hence no home folder; write the path out") from None


def path_argument(text: str) -> Path:
    """A path that is given on the command line, for `argparse`; ``~`` is the home folder.

    An empty one, as an unset variable of a shell gives it, would be the current folder.

    Raises:
        argparse.ArgumentTypeError: it can be no path.
    """
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"'{text}' is no path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text}: there is no such user, hence no home folder") from None


def require_folder(name: str, folder: Path) -> None:
    """Check that a folder exists or can be made.

    Args:
        name: name of the option that gives it, for the message.
        folder: the folder.

    Raises:
        UserError: a file is in its place, no folder can have this name, or the name is not UTF-8, which TensorBoard and
            the records cannot write.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(f"{ascii(str(folder))}: this name is not UTF-8; choose another {name}") from None
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
    except OSError as error:
        raise UserError(f"{folder}: cannot be a folder: {error.strerror}; choose another {name}") from None
    if not there.is_dir():
        raise UserError(f"{folder}: cannot be a folder, since {there} is a file; choose another {name}")


def why_refused(error: OSError) -> str:
    """An error of the file system in one line, such as ``/path/to/file: No space left on device; make room``."""
    words = error.strerror or str(error) or type(error).__name__
    room = "; make room, then the same command continues" if error.errno in FULL else ""
    return f"{error.filename}: {words}{room}" if error.filename else f"{words}{room}"
