"""Results in an object store (``s3://…`` and others that pyarrow opens). Each machine works in a local copy of a sweep.

The store is what counts. A trial first downloads what the store has of it. After each evaluation it uploads what has
changed: its history, then the checkpoints, which refer to the history's length, then the rest. So another machine finds
a state that it can resume from, whenever this one dies.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from cissl.errors import UserError
from cissl.paths import require_folder
from cissl.training.records import CONFUSIONS, ROWS, read_status

CACHE = Path("~/.cache/cissl/sweeps")
# The records that the driver reads.
RECORDS = (
    "config.json", "provenance.json", "status.json", "history.jsonl", "search.json", "runs.jsonl", "sweep.yaml",
)  # fmt: skip
HIDDEN = "."  # names of locks and of unfinished files begin with this


class SweepFolder:
    """The place of a sweep's results.

    Args:
        storage: the folder of all sweeps, or its URI in an object store.
        name: name of the sweep.

    Attributes:
        folder: the local folder that the driver reads and writes.
        remote: URI of the sweep's folder in the object store; None if the results are in a local folder.

    Raises:
        UserError: the object store cannot be opened or written, or there cannot be such a folder.
    """

    def __init__(self, storage: str, name: str):
        self.remote = f"{storage.rstrip('/')}/{name}" if "://" in storage else None
        self.folder = _copy(self.remote) / "driver" / name if self.remote else Path(storage) / name
        require_folder("--storage-path", self.folder)
        self._mirror = Mirror(self.remote, self.folder) if self.remote else None
        if self._mirror:
            self._mirror.check()
            self._mirror.pull(only=RECORDS)

    def __str__(self) -> str:
        return _without_keys(self.remote) if self.remote else str(self.folder)

    def state(self, trial_id: str) -> str | None:
        """The state that a trial has just recorded, see `records.write_status`; None if there is no record."""
        if self._mirror:
            self._mirror.pull(only=RECORDS, below=trial_id)
        status = read_status(self.folder / trial_id)
        return status["state"] if status else None

    def publish(self) -> None:
        """Upload what the driver wrote, if the results are in an object store."""
        if self._mirror:
            self._mirror.push()


@contextlib.contextmanager
def trial_folder(
    remote: str | None, folder: Path, trial_id: str, rank: int
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder for a trial to work in, and a function that keeps what is in it.

    Args:
        remote: URI of the sweep's folder; None if `folder` itself keeps the results.
        folder: the sweep's folder.
        trial_id: id of the trial.
        rank: number of this worker. All workers download; only the first one uploads.
    """
    if remote is None:
        yield folder / trial_id, lambda: None
        return
    local = _copy(remote) / "trials" / f"{trial_id}-{rank}"
    mirror = Mirror(f"{remote}/{trial_id}", local)
    mirror.pull()
    keep = mirror.push if rank == 0 else lambda: None
    try:
        yield local, keep
    finally:
        keep()
    shutil.rmtree(local, ignore_errors=True)


def _copy(uri: str) -> Path:
    """The local folder in which this machine works on a remote one."""
    return CACHE.expanduser() / hashlib.sha256(uri.encode()).hexdigest()[:12]


class Mirror:
    """A local folder and its copy in an object store.

    Args:
        uri: URI of the remote folder, such as ``s3://bucket/sweeps/night``.
        local: the local folder.

    Raises:
        UserError: the URI cannot be opened.
    """

    def __init__(self, uri: str, local: Path):
        import pyarrow
        from pyarrow import fs  # here, since loading the cloud libraries takes a while

        self.uri, self.local = uri, local
        try:
            self._fs, self._root = fs.FileSystem.from_uri(uri)
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"--storage-path {_without_keys(uri)}: cannot be opened: {error}") from None
        self._selector = fs.FileSelector
        self._file = fs.FileType.File
        self._pushed: dict[str, tuple[int, int]] = {}  # path → the file's stamp when it was uploaded

    def pull(self, *, only: tuple[str, ...] = (), below: str = "") -> None:
        """Make the local files equal to the remote ones.

        Args:
            only: names of files; by default all files.
            below: a folder inside; by default the whole folder.
        """

        def chosen(path: str) -> bool:
            return (not only or PurePosixPath(path).name in only) and (not below or path.startswith(f"{below}/"))

        wanted = [path for path in self._remote_files(below) if chosen(path)]
        for path in set(self._local_files()) - set(wanted):
            if chosen(path):
                (self.local / path).unlink()
        for path in wanted:
            target = self.local / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._fs.open_input_stream(f"{self._root}/{path}") as source:
                target.write_bytes(source.read())
            self._pushed[path] = _stamp(target)

    def push(self) -> None:
        """Upload the files that changed since the last time; delete remote files that are no longer here."""
        files = self._local_files()
        for path in sorted(files, key=_upload_order):
            stamp = _stamp(self.local / path)
            if self._pushed.get(path) != stamp:
                self._write(path, (self.local / path).read_bytes())
                self._pushed[path] = stamp
        for path in set(self._pushed) - set(files):
            self._fs.delete_file(f"{self._root}/{path}")
            del self._pushed[path]

    def check(self) -> None:
        """Check that the remote folder can be written.

        Raises:
            UserError: it cannot be written.
        """
        try:
            self._write(".writable", b"")
            self._fs.delete_file(f"{self._root}/.writable")
        except OSError as error:
            raise UserError(f"--storage-path {_without_keys(self.uri)}: cannot be written: {error}") from None

    def _write(self, path: str, content: bytes) -> None:
        """Write a remote file. Object stores need no folders, and some do not allow to make them."""
        target = f"{self._root}/{path}"
        try:
            stream = self._fs.open_output_stream(target)
        except FileNotFoundError:
            self._fs.create_dir(str(PurePosixPath(target).parent), recursive=True)
            stream = self._fs.open_output_stream(target)
        with stream:
            stream.write(content)

    def _remote_files(self, below: str = "") -> list[str]:
        top = f"{self._root}/{below}".rstrip("/")
        infos = self._fs.get_file_info(self._selector(top, recursive=True, allow_not_found=True))
        return [info.path.removeprefix(f"{self._root}/") for info in infos if info.type == self._file]

    def _local_files(self) -> list[str]:
        paths = (path.relative_to(self.local) for path in self.local.rglob("*") if path.is_file())
        return [path.as_posix() for path in paths if not path.name.startswith(HIDDEN)]


def _upload_order(path: str) -> int:
    """0 for the history, 1 for checkpoints and weights, 2 for the rest."""
    if PurePosixPath(path).name in (ROWS, CONFUSIONS):
        return 0
    return 1 if path.endswith(".pt") else 2


def _stamp(path: Path) -> tuple[int, int]:
    """A file's size in bytes and the time of its last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _without_keys(uri: str) -> str:
    """A URI without its options and credentials, for messages."""
    scheme, _, rest = uri.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
