"""Where records lie: a local folder, or a remote one that pyarrow's file systems read."""

import os
import re
import stat
from pathlib import PurePosixPath

from cissl.analysis.text import one_line
from cissl.errors import UserError

MARKERS = {"status.json", "provenance.json", "history.jsonl"}  # config.json alone may be anybody's
INSIDE_TRIALS = {"checkpoints", "tensorboard", "stats"}


def open_store(root: str):
    """A store for a path or a URI such as ``s3://bucket/sweeps/night``.

    Raises:
        UserError: it is neither.
    """
    if not root:
        raise UserError("an empty RESULTS; name a sweep's folder, a trial's, or their parent")
    if re.match(r"\w{2,}:/(?!/)", root):
        raise UserError(f"{root} is no folder and no URI; a URI has two slashes, such as s3://bucket/sweep")
    return RemoteStore(root) if "://" in root else LocalStore(root)


class LocalStore:
    """Folders of this machine (NFS included).

    Attributes:
        problems: (folder, message) of what could not be listed.
    """

    def __init__(self, root: str):
        self.uri = os.path.expanduser(root)
        if self.uri.startswith("~"):
            raise UserError(f"{root}: there is no such user; for a folder of that name write ./{root}")
        self.problems: list[tuple[str, str]] = []

    def check(self) -> None:
        """Raise UserError unless there is something to look into."""
        if os.path.isfile(self.uri):
            raise UserError(f"{self.uri} is a file; name a sweep's folder, a trial's, or their parent")
        if not os.path.isdir(self.uri):
            raise UserError(f"{self.uri} does not exist; name a sweep's folder, a trial's, or their parent")

    def trial_folders(self) -> list[str]:
        """Folders that hold any of a trial's files, so that a damaged trial is noticed too.

        Links are followed, and each folder is visited once, wherever they lead.
        """
        found: list[str] = []
        visited = {self._place(self.uri)}
        for folder, subfolders, files in os.walk(self.uri, followlinks=True, onerror=self._note):
            if MARKERS.intersection(files):
                found.append(folder)
                subfolders.clear()  # a trial contains no trials, but may contain thousands of checkpoints
                continue
            fresh = []
            for name in sorted(subfolders, key=lambda name: (os.path.islink(os.path.join(folder, name)), name)):
                place = self._place(os.path.join(folder, name))
                if place not in visited:
                    visited.add(place)
                    fresh.append(name)
            subfolders[:] = fresh
        return found

    def _place(self, folder: str) -> tuple[int, int] | None:
        """What is the same for all names of a folder."""
        try:
            status = os.stat(folder)
        except OSError as error:  # removed in this moment
            self._note(error)
            return None
        return status.st_dev, status.st_ino

    def _note(self, error: OSError) -> None:
        self.problems.append((self.display(str(error.filename)), f"cannot be listed: {error.strerror}"))

    def identity(self, folder: str) -> str:
        return os.path.realpath(folder)

    def display(self, folder: str) -> str:
        return one_line(folder)

    def parent(self, folder: str) -> str:
        return os.path.dirname(os.path.abspath(folder))

    def name(self, folder: str) -> str:
        """A folder's own name, not that of a link to it."""
        return os.path.basename(os.path.realpath(folder))

    def is_root(self, folder: str) -> bool:
        return folder == self.uri

    def read(self, folder: str, name: str) -> bytes:
        path = os.path.join(folder, name)
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would never end
            raise OSError(f"{name} is no file")
        with open(path, "rb") as file:
            return file.read()


class RemoteStore:
    """Anything ``pyarrow.fs.FileSystem.from_uri`` opens; one listing of the tree, then one read per file."""

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
        """Raise UserError unless there is something to look into."""
        if self._fs.get_file_info(self._path).type != self._types.Directory:
            raise UserError(f"{self.uri} does not exist; name a sweep's folder, a trial's, or their parent")

    def trial_folders(self) -> list[str]:
        paths = [PurePosixPath(info.path) for info in self._fs.get_file_info(self._selector)]
        folders = {str(path.parent) for path in paths if path.name in MARKERS}
        return sorted(f for f in folders if not INSIDE_TRIALS.intersection(PurePosixPath(f).parts[-1:]))

    def identity(self, folder: str) -> str:
        return f"{self._fs.type_name}:{folder}"

    def display(self, folder: str) -> str:
        return one_line(f"{self._scheme}://{folder}")

    def parent(self, folder: str) -> str:
        return str(PurePosixPath(folder).parent)

    def name(self, folder: str) -> str:
        return PurePosixPath(folder).name

    def is_root(self, folder: str) -> bool:
        return folder == self._path.rstrip("/")

    def read(self, folder: str, name: str) -> bytes:
        with self._fs.open_input_file(f"{folder}/{name}") as file:
            return file.read()
