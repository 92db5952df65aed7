"""Archives and pickles from elsewhere, opened so that they can do no harm."""

import gzip
import hashlib
import lzma
import pickle
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cissl.datasets.progress import progress
from cissl.errors import UserError

BLOCK = 2**20
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""What decompressors raise; RuntimeError is for zip archives with a password."""


@contextmanager
def opened(source: Path, workplace: Path, md5: str | None = None) -> Iterator[Path]:
    """A folder with the contents of ``source``: itself if it is a folder, else the unpacked archive.

    Args:
        workplace: where an archive is unpacked; what was unpacked is removed at the end.
        md5: the checksum that the archive must have, if that is known.

    Raises:
        UserError: the source is missing or no archive, damaged, or not the one it should be.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise UserError(f"there is no file or folder {source}", key="from")
    folder = workplace / "source"
    folder.mkdir()
    with ThreadPoolExecutor(1) as pool:  # the checksum and the decompression each keep one core busy
        checksum = pool.submit(md5_of, source) if md5 else None
        try:
            extract(source, folder)
        finally:
            if checksum:  # a wrong checksum explains a damaged archive better than the decompressor does
                require_checksum(source, checksum.result(), md5)
    yield folder
    shutil.rmtree(folder)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip archive; nothing is written outside ``folder``.

    Raises:
        UserError: the file is no archive or damaged, or it has links or members that point outside.
    """
    try:
        if tarfile.is_tarfile(archive):
            _extract_tar(archive, folder)
        elif zipfile.is_zipfile(archive):
            _extract_zip(archive, folder)
        else:
            raise UserError(f"{archive} is no folder, tar archive or zip archive, or it is damaged", key="from")
    except DAMAGED as error:
        raise UserError(f"{archive} is damaged or incomplete ({error}); fetch it again", key="from") from error


def require_checksum(source: Path, found: str, expected: str) -> None:
    """Refuse a file whose MD5 checksum is not the published one."""
    if found != expected:
        raise UserError(
            f"{source} has the MD5 checksum {found}, but the official {source.name} has {expected}: it is "
            f"damaged, incomplete or another file; fetch it again, or add --unofficial to read it all the "
            f"same",
            key="from",
        )


def md5_of(path: Path) -> str:
    """The MD5 checksum of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def load_pickle(path: Path):
    """Unpickle plain values and NumPy arrays, and nothing else: a pickle can otherwise run any program.

    Raises:
        UserError: the file is damaged or asks for other objects.
    """
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except (UserError, OSError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is damaged or no pickle ({type(error).__name__}: {error}); fetch it again", key="from"
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the functions that NumPy's own pickles call, whichever version of NumPy wrote them."""

    NUMPY = {
        function.__name__: function
        for function in (np.empty(0).__reduce__()[0], np.empty(1).__reduce_ex__(5)[0], np.float64(0).__reduce__()[0])
    }

    def find_class(self, module: str, name: str):
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module.startswith(("numpy.core.", "numpy._core.")) and name in self.NUMPY:
            return self.NUMPY[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 2's byte strings travel
            return super().find_class(module, name)
        raise UserError(f"a pickle asks for {module}.{name}; only numbers, texts and NumPy arrays are read", key="from")


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar, progress(f"extract {archive.name}", None, unit="B") as bar:
        for member in tar:
            target = _inside(folder, member.name, archive)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                _copy(tar.extractfile(member), target, bar)
            else:
                raise UserError(
                    f"{archive} has '{member.name}', which is neither a file nor a folder; it is not unpacked",
                    key="from",
                )


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as unzipped, progress(f"extract {archive.name}", None, unit="B") as bar:
        for member in unzipped.infolist():
            target = _inside(folder, member.filename, archive)
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                _copy(unzipped.open(member), target, bar)


def _inside(folder: Path, member: str, archive: Path) -> Path:
    target = (folder / member).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UserError(
            f"{archive} has '{member}', which points outside the folder it is unpacked to; it is not unpacked",
            key="from",
        )
    return target


def _copy(source, target: Path, bar) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, open(target, "wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            bar.update(len(block))
