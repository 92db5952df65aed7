"""Stores of records: local folders, and remote ones that pyarrow's file systems read."""

import os
import re
import stat
from pathlib import PurePosixPath
from typing import Protocol

from cissl.analysis.text import one_line
from cissl.errors import UserError

MARKERS = {"status.json", "provenance.json", "history.jsonl"}  # a config.json alone may belong to another program
INSIDE_TRIALS = {"checkpoints", "tensorboard", "stats"}


class RecordStore(Protocol):
    """A tree of folders in which trials lie.

    A folder is named by a string that only its store understands: a path, or a key in a bucket.

    Attributes:
        uri: the root, as messages show it.
        problems: (folder, message) for each folder that could not be listed.
    """

    uri: str
    problems: list[tuple[str, str]]

    def check(self) -> None:
        """Check that the root is a folder.

        Raises:
            UserError: it is a file, or it does not exist.
        """

    def trial_folders(self) -> list[str]:
        """All folders that hold any file of a trial, so that a damaged trial is found too."""

    def identity(self, folder: str) -> str:
        """What is the same for all names of one folder, in every store."""

    def display(self, folder: str) -> str:
        """The folder as messages show it."""

    def parent(self, folder: str) -> str:
        """The folder that holds this one: a trial's sweep."""

    def name(self, folder: str) -> str:
        """The last part of the folder's path."""

    def is_root(self, folder: str) -> bool:
        """Whether the user named this very folder."""

    def read(self, folder: str, name: str) -> bytes:
        """The contents of a file.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
        """


def open_store(root: str) -> RecordStore:
    """A store for a path, or for a URI such as ``s3://bucket/sweeps/night``.

    Raises:
        UserError: it is neither, or the URI cannot be opened.
    """
    if not root:
        raise UserError("an empty RESULTS; name a sweep's folder, a trial's, or their parent")
    if re.match(r"\w{2,}:/(?!/)", root):
        raise UserError(f"{root} is no folder and no URI; a URI has two slashes, such as s3://bucket/sweep")
    return RemoteStore(root) if "://" in root else LocalStore(root)


class LocalStore:
    """Folders of this machine, including those that it mounts; see `RecordStore`.

    Raises:
        UserError: the path begins with a ``~`` that stands for no user.
    """

    def __init__(self, root: str):
        self.uri = os.path.expanduser(root)
        if self.uri.startswith("~"):
            raise UserError(f"{root}: there is no such user; for a folder of that name write ./{root}")
        self.problems: list[tuple[str, str]] = []

    def check(self) -> None:
        """Check that the root is a folder.

        Raises:
            UserError: it is a file, or it does not exist.
        """
        if os.path.isfile(self.uri):
            raise UserError(f"{self.uri} is a file; name a sweep's folder, a trial's, or their parent")
        if not os.path.isdir(self.uri):
            raise UserError(f"{self.uri} does not exist; name a sweep's folder, a trial's, or their parent")

    def trial_folders(self) -> list[str]:
        """All folders that hold any file of a trial. Links are followed, and each folder is visited once."""
        found: list[str] = []
        visited = {self._device_and_inode(self.uri)}
        for folder, subfolders, files in os.walk(self.uri, followlinks=True, onerror=self._note):
            if MARKERS.intersection(files):
                found.append(folder)
                subfolders.clear()  # a trial contains no trials, but may contain thousands of checkpoints
                continue
            fresh = []
            for name in sorted(subfolders, key=lambda name: (os.path.islink(os.path.join(folder, name)), name)):
                identity = self._device_and_inode(os.path.join(folder, name))
                if identity not in visited:
                    visited.add(identity)
                    fresh.append(name)
            subfolders[:] = fresh
        return found

    def _device_and_inode(self, folder: str) -> tuple[int, int] | None:
        try:
            status = os.stat(folder)
        except OSError as error:  # the folder was removed a moment ago
            self._note(error)
            return None
        return status.st_dev, status.st_ino

    def _note(self, error: OSError) -> None:
        self.problems.append((self.display(str(error.filename)), f"cannot be listed: {error.strerror}"))

    def identity(self, folder: str) -> str:
        """The path without links."""
        return os.path.realpath(folder)

    def display(self, folder: str) -> str:
        """The path on one line, without characters that would control a terminal."""
        return one_line(folder)

    def parent(self, folder: str) -> str:
        """The absolute path of the folder that holds this one."""
        return os.path.dirname(os.path.abspath(folder))

    def name(self, folder: str) -> str:
        """The folder's own name, not that of a link to it."""
        return os.path.basename(os.path.realpath(folder))

    def is_root(self, folder: str) -> bool:
        """Whether the user named this very folder."""
        return folder == self.uri

    def read(self, folder: str, name: str) -> bytes:
        """The contents of a file.

        Raises:
            OSError: it cannot be read, or is no regular file; FileNotFoundError where there is none.
        """
        path = os.path.join(folder, name)
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would never end
            raise OSError(f"{name} is no file")
        with open(path, "rb") as file:
            return file.read()


class RemoteStore:
    """Whatever ``pyarrow.fs.FileSystem.from_uri`` opens; see `RecordStore`.

    The tree is listed at once, since each request to an object store takes a while.

    Raises:
        UserError: the URI cannot be opened. The message shows no keys that the URI may hold.
    """

    def __init__(self, uri: str):
        import pyarrow
        from pyarrow import fs  # here, because loading the cloud libraries takes a while

        try:
            self._fs, self._path = fs.FileSystem.from_uri(uri)
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{uri.split('?')[0].rpartition('@')[2]} cannot be opened: {error}") from None
        self._scheme = uri.split("://")[0]
        self.uri = self.display(self._path)  # without keys that the URI may hold
        self._selector = fs.FileSelector(self._path, recursive=True, allow_not_found=True)
        self._types = fs.FileType
        self.problems: list[tuple[str, str]] = []

    def check(self) -> None:
        """Check that the root is a folder.

        Raises:
            UserError: it is a file, or it does not exist.
        """
        if self._fs.get_file_info(self._path).type != self._types.Directory:
            raise UserError(f"{self.uri} does not exist; name a sweep's folder, a trial's, or their parent")

    def trial_folders(self) -> list[str]:
        """All folders that hold any file of a trial, sorted."""
        paths = [PurePosixPath(info.path) for info in self._fs.get_file_info(self._selector)]
        folders = {str(path.parent) for path in paths if path.name in MARKERS}
        return sorted(f for f in folders if not INSIDE_TRIALS.intersection(PurePosixPath(f).parts[-1:]))

    def identity(self, folder: str) -> str:
        """The kind of the file system, and the path in it."""
        return f"{self._fs.type_name}:{folder}"

    def display(self, folder: str) -> str:
        """The URI on one line, without keys and characters that would control a terminal."""
        return one_line(f"{self._scheme}://{folder}")

    def parent(self, folder: str) -> str:
        """The path of the folder that holds this one."""
        return str(PurePosixPath(folder).parent)

    def name(self, folder: str) -> str:
        """The last part of the path."""
        return PurePosixPath(folder).name

    def is_root(self, folder: str) -> bool:
        """Whether the user named this very folder."""
        return bool(folder == self._path.rstrip("/"))

    def read(self, folder: str, name: str) -> bytes:
        """The contents of a file.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
        """
        with self._fs.open_input_file(f"{folder}/{name}") as file:
            contents: bytes = file.read()
        return contents
