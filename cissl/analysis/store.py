"""Where records lie: a local folder, or a remote one that pyarrow's file systems read."""

import os
from pathlib import Path, PurePosixPath

from cissl.errors import UserError

MARKERS = {"status.json", "provenance.json", "history.jsonl"}  # config.json alone may be anybody's
INSIDE_TRIALS = {"checkpoints", "tensorboard", "stats"}


def open_store(root: str):
    """A store for a path or a URI such as ``s3://bucket/sweeps/night``."""
    return RemoteStore(root) if "://" in root else LocalStore(root)


class LocalStore:
    """Folders of this machine (NFS included)."""

    def __init__(self, root: str):
        self.uri = str(Path(root).expanduser())

    def exists(self) -> bool:
        return os.path.isdir(self.uri)

    def trial_folders(self) -> list[str]:
        """Folders that hold any of a trial's files, so that a damaged trial is noticed too."""
        found = []
        for folder, subfolders, files in os.walk(self.uri, followlinks=True):
            if MARKERS.intersection(files):
                found.append(folder)
                subfolders.clear()  # a trial contains no trials, but may contain thousands of checkpoints
            subfolders.sort()
        return found

    def identity(self, folder: str) -> str:
        return os.path.realpath(folder)

    def display(self, folder: str) -> str:
        return folder

    def parent(self, folder: str) -> str:
        return os.path.dirname(os.path.abspath(folder))

    def is_root(self, folder: str) -> bool:
        return folder == self.uri

    def read(self, folder: str, name: str) -> bytes:
        with open(os.path.join(folder, name), "rb") as file:
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

    def exists(self) -> bool:
        return self._fs.get_file_info(self._path).type == self._types.Directory

    def trial_folders(self) -> list[str]:
        paths = [PurePosixPath(info.path) for info in self._fs.get_file_info(self._selector)]
        folders = {str(path.parent) for path in paths if path.name in MARKERS}
        return sorted(f for f in folders if not INSIDE_TRIALS.intersection(PurePosixPath(f).parts[-1:]))

    def identity(self, folder: str) -> str:
        return f"{self._fs.type_name}:{folder}"

    def display(self, folder: str) -> str:
        return f"{self._scheme}://{folder}"

    def parent(self, folder: str) -> str:
        return str(PurePosixPath(folder).parent)

    def is_root(self, folder: str) -> bool:
        return folder == self._path.rstrip("/")

    def read(self, folder: str, name: str) -> bytes:
        with self._fs.open_input_file(f"{folder}/{name}") as file:
            return file.read()
