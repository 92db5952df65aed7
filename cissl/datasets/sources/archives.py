"""Archives and pickles from elsewhere, opened so that they can do no harm."""

import hashlib
import pickle
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from cissl.datasets.progress_bar import progress
from cissl.datasets.writing import require_space
from cissl.errors import UserError

BLOCK = 2**20
OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"MSCF": "a cabinet file",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"\x1f\x8b": "compressed with gzip, but has no tar archive in it",
}
"""Beginnings of files that are no tar or zip archive, and what these files are."""


@contextmanager
def opened(source: Path, workplace: Path, md5: str | None = None) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A folder with the contents of ``source``, itself if it is a folder, else the unpacked archive; and remarks on it.

    Args:
        workplace: where an archive is unpacked; what was unpacked is removed at the end.
        md5: the checksum that the archive must have, if that is known.

    Raises:
        UserError: the source is missing or no archive, damaged, or not the one it should be.
    """
    if source.is_dir():
        yield source, ()
        return
    if not source.is_file():
        raise UserError(f"there is no file or folder {source}", key="from")
    folder = workplace / "source"
    folder.mkdir()
    with ThreadPoolExecutor(1) as pool:  # the checksum and the decompression each keep one core busy
        checksum = pool.submit(md5_of, source) if md5 else None
        try:
            remarks = extract(source, folder)
        finally:
            if md5 and checksum:  # a wrong checksum explains a damaged archive better than the decompressor does
                require_checksum(source, checksum.result(), md5)
    try:
        yield folder, tuple(remarks)
    except UserError as error:  # the folder is gone when a person reads its name
        raise UserError(str(error).replace(str(folder), str(source)), key=error.key) from error
    shutil.rmtree(folder)


def extract(archive: Path, folder: Path) -> list[str]:
    """Unpack a tar or zip archive; nothing is written outside ``folder``.

    Returns:
        Remarks: what about the names in it a person should know.

    Raises:
        UserError: the file is no archive or damaged, or it has links or members that point outside.
    """
    try:
        if tarfile.is_tarfile(archive):
            return _extract_tar(archive, folder)
        if zipfile.is_zipfile(archive):
            return _extract_zip(archive, folder)
    except UserError:
        raise
    except Exception as error:  # of a damaged archive a decompressor can raise anything
        if isinstance(error, OSError) and error.errno is not None:  # the disk refused
            raise
        raise UserError(f"{archive} is damaged or incomplete ({error}); fetch it again", key="from") from error
    with open(archive, "rb") as file:
        beginning = file.read(max(map(len, OTHERS)))
    for magic, what in OTHERS.items():
        if beginning.startswith(magic):
            raise UserError(f"{archive} is {what}, which is not read; unpack it and give the folder", key="from")
    raise UserError(f"{archive} is no folder, tar archive or zip archive, or it is damaged", key="from")


def require_checksum(source: Path, found: str, expected: str) -> None:
    """Refuse a file whose MD5 checksum is not the published one.

    Args:
        found: the file's checksum, in hexadecimal digits.
        expected: the published one.

    Raises:
        UserError: they differ.
    """
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


def load_pickle(path: Path) -> Any:
    """Unpickle plain values and NumPy arrays, and nothing else: a pickle can otherwise run any program.

    Raises:
        UserError: the file is damaged or asks for other objects.
    """
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except OSError:
        raise
    except UserError as error:
        raise UserError(f"{path}: {error}", key="from") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path} is damaged or no pickle ({type(error).__name__}: {error}); fetch it again", key="from"
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the functions that NumPy's own pickles call, whichever version of NumPy wrote them."""

    NUMPY = {
        getattr(reduced[0], "__name__", ""): reduced[0]
        for reduced in (np.empty(0).__reduce__(), np.empty(1).__reduce_ex__(5), np.float64(0).__reduce__())
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module.startswith(("numpy.core.", "numpy._core.")) and name in self.NUMPY:
            return self.NUMPY[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 2's byte strings travel
            return super().find_class(module, name)
        raise UserError(f"a pickle asks for {module}.{name}; only numbers, texts and NumPy arrays are read", key="from")


def _extract_tar(archive: Path, folder: Path) -> list[str]:
    with tarfile.open(archive) as tar, _Unpacking(archive, folder) as unpacking:
        for member in tar:
            name = member.name.removeprefix("./")
            if "/" not in name:  # else a backslash may be part of a name
                name = unpacking.with_slashes(name)
            if member.isdir():
                unpacking.make_folder(name)
            elif member.isreg():
                unpacking.write(name, partial(_file_of, tar, member))
            else:
                unpacking.refuse(name, "is neither a file nor a folder")
    return unpacking.remarks()


def _file_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """The contents of a member that is a file."""
    file = tar.extractfile(member)
    assert file is not None, f"{member.name} is a file"
    return file


def _extract_zip(archive: Path, folder: Path) -> list[str]:
    with zipfile.ZipFile(archive) as unzipped, _Unpacking(archive, folder) as unpacking:
        require_space(folder, sum(member.file_size for member in unzipped.infolist()))
        for member in unzipped.infolist():
            name = unpacking.with_slashes(_decoded(member) or unpacking.unknown_code_page(member.filename))
            if name.endswith("/"):
                unpacking.make_folder(name)
            elif stat.S_ISLNK(member.external_attr >> 16):
                unpacking.refuse(name, "is a link")
            elif member.flag_bits & 1:
                unpacking.refuse(name, "is encrypted: unpack the archive with its password and give the folder")
            else:
                unpacking.write(name, partial(unzipped.open, member))
    return unpacking.remarks()


def _decoded(member: zipfile.ZipInfo) -> str | None:
    """The name of a member; None if its code page is unknown.

    Names are UTF-8 where a flag says so and, without the flag, in archives of macOS; `zipfile` takes the others for
    code page 437.
    """
    if member.flag_bits & 0x800 or member.filename.isascii():
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return None


class _Unpacking:
    """Writes members into a folder, and counts what about their names a person should know."""

    def __init__(self, archive: Path, folder: Path):
        self.archive, self.folder = archive, folder.resolve()
        self.backslashes = self.repeated = 0
        self.of_unknown_code_page: list[str] = []

    def __enter__(self) -> "_Unpacking":
        self.bar = progress(f"extract {self.archive.name}", None, unit="B")
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def with_slashes(self, name: str) -> str:
        """The name with the separators that archives should have; some programs of Windows write backslashes."""
        self.backslashes += "\\" in name
        return name.replace("\\", "/")

    def unknown_code_page(self, name: str) -> str:
        self.of_unknown_code_page.append(name)
        return name

    def make_folder(self, name: str) -> None:
        self._inside(name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, opened: Callable[[], IO[bytes]]) -> None:
        target = self._inside(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.repeated += target.exists()
        with opened() as source, open(target, "wb") as file:
            while block := source.read(BLOCK):
                file.write(block)
                self.bar.update(len(block))

    def refuse(self, name: str, reason: str) -> None:
        raise UserError(f"{self.archive} has '{name}', which {reason}; it is not unpacked", key="from")

    def remarks(self) -> list[str]:
        remarks = {
            f"{self.backslashes} names in the archive have backslashes, which were read as folders": self.backslashes,
            f"{self.repeated} files are in the archive again under the same name; the last ones count": self.repeated,
            f"{len(self.of_unknown_code_page)} names in the archive are in an unknown code page and were read in 437, "
            f"such as {self.of_unknown_code_page[:1]}": len(self.of_unknown_code_page),
        }
        return [remark for remark, holds in remarks.items() if holds]

    def _inside(self, name: str) -> Path:
        target = (self.folder / name).resolve()
        if not target.is_relative_to(self.folder):
            self.refuse(name, "points outside the folder it is unpacked to")
        return target
