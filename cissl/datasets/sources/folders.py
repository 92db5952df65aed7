"""Folders of images as people have them: nested, linked, and with what operating systems leave in them."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from cissl.datasets.sources.source_files import listed
from cissl.errors import UserError

SUFFIXES = set(
    ".apng .avif .bmp .dib .gif .heic .heif .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .jxl .pbm .pgm .png .pnm .ppm .qoi "
    ".tga .tif .tiff .webp".split()
)
"""Of files that claim to be images; one that cannot be read ends the import."""
RECOGNISED = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are recognised by the content of a file, whatever its suffix."""
SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}


@dataclass(frozen=True)
class LeftOut:
    """What of a folder was not taken, and why."""

    root: Path
    names: dict[tuple[Path, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """(folder, reason) → names in that folder"""

    def add(self, path: Path, reason: str) -> None:
        """Note a file or folder that is left out, and why."""
        self.names[path.parent, reason].append(path.name)

    def remarks(self) -> list[str]:
        """One line for each folder and reason."""
        return [
            f"left out of {_shown_folder(folder, self.root)}: {listed(sorted(names))} ({reason})"
            for (folder, reason), names in sorted(self.names.items())
        ]


def images_in(folder: Path, left_out: LeftOut) -> list[Path]:
    """The image files of a folder and of the folders in it, sorted by name; empty if there is none.

    Image files are those with the suffix of an image, and all others whose content is recognised as one.
    """
    return [path for path in _files_below(folder, left_out, _folders_around(folder)) if _is_image(path, left_out)]


def class_folders(folder: Path, left_out: LeftOut) -> dict[str, Path]:
    """Class name → its folder, sorted by name; names are in Unicode's composed form (NFC), as few systems agree on it.

    Raises:
        UserError: a name cannot be shown, or two are the same to a reader.
    """
    classes: dict[str, Path] = {}
    for path in folders_in(folder, left_out):
        name = class_name(path.name, folder)
        if name in classes:
            raise UserError(
                f"the folders {classes[name]} and {path} have the same name to a reader, '{name}': rename or join them",
                key="path",
            )
        classes[name] = path
    return dict(sorted(classes.items()))


def class_name(text: str, origin: Path) -> str:
    """The text as the name of a class, without spaces around it.

    Args:
        origin: the folder or file that has it, for errors.

    Raises:
        UserError: it is empty, is not UTF-8, or has characters that cannot be printed, such as a line feed.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not name or not name.isprintable():  # bytes that are not UTF-8 arrive as characters that cannot be printed
        raise UserError(
            f"{text!a} in {origin} cannot be the name of a class: it is empty, is not UTF-8, or has characters "
            f"that cannot be printed; rename it",
            key="path",
        )
    return name


def folders_in(folder: Path, left_out: LeftOut, reason: str = "not in a class folder") -> list[Path]:
    """The folders in a folder, sorted by name.

    Args:
        reason: why files beside them are left out.
    """
    found = []
    for path in _visible(folder, left_out):
        if path.is_dir():
            found.append(path)
        else:
            left_out.add(path, reason)
    return found


def innermost(folder: Path, parts: set[str], left_out: LeftOut) -> Path:
    """The folder itself, or what is in it if that is a single folder, and so on: archives wrap folders into others.

    Args:
        parts: names of folders, in lower case, that are no wrapping.
    """
    seen = {_identity(folder)}
    while True:
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not _overlooked(path)]
        if len(inside) != 1 or inside[0].name.lower() in parts or _identity(inside[0]) in seen:
            return folder
        folders_in(folder, left_out, "beside the folder of images")
        folder = inside[0]
        seen.add(_identity(folder))


def _files_below(folder: Path, left_out: LeftOut, seen: set[tuple[int, int]]) -> Iterator[Path]:
    for path in _visible(folder, left_out):
        if not path.is_dir():
            yield path
        elif _identity(path) in seen:
            left_out.add(path, "a link to a folder that is around it or was read before")
        else:
            seen.add(_identity(path))
            yield from _files_below(path, left_out, seen)


def _visible(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if reason := _overlooked(path):
            left_out.add(path, reason)
        else:
            yield path


def _overlooked(path: Path) -> str | None:
    """Why a file or folder is not looked at, if so."""
    if path.name.startswith("."):
        return "hidden"
    return "of the operating system" if path.name.lower() in SYSTEM_NAMES else None


def _is_image(path: Path, left_out: LeftOut) -> bool:
    claims = path.suffix.lower() in SUFFIXES
    if not path.is_file():  # to open a pipe would wait for ever
        if claims and not path.exists():
            return True  # a link to an image that is gone: to be named among the unreadable ones
        left_out.add(path, "no file")
        return False
    if claims:
        return True
    Image.init()
    try:
        with Image.open(path, formats=[name for name in RECOGNISED if name in Image.OPEN]):
            return True
    except Exception:  # a file of any content can raise anything
        left_out.add(path, "no image")
        return False


def _folders_around(folder: Path) -> set[tuple[int, int]]:
    absolute = folder.absolute()
    return {_identity(path) for start in (absolute, absolute.resolve()) for path in (start, *start.parents)}


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _shown_folder(folder: Path, root: Path) -> str:
    relative = folder.relative_to(root) if folder.is_relative_to(root) else folder
    return "the top folder" if relative == Path() else f"{relative}/"
