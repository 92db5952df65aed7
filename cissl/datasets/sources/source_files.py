"""What the readers of official distributions share: finding files, and errors that name them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from cissl.errors import UserError

CHUNK = 1000  # images
NAMES_SHOWN = 10


def find(folder: Path, *files: str) -> Path | None:
    """The folder that has one of ``files``, if any: ``folder`` itself or one directly inside."""
    for root in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if any((root / file).is_file() for file in files):
            return root
    return None


def require(folder: Path, *files: str) -> Path:
    """Like `find`, for files that must be there.

    Raises:
        UserError: they are not.
    """
    root = find(folder, *files)
    if root is None:
        raise UserError(
            f"{folder} has no {' and no '.join(files)}; give the folder or archive of an official distribution",
            key="from",
        )
    return root


def holding(folder: Path) -> str:
    """What is in a folder, in words; for errors."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir()) if folder.is_dir() else []
    return f"it holds {listed(names)}" if names else "it is empty"


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}"


def require_every_class(what: str, counts: Sequence[int], class_names: Sequence[str]) -> None:
    """Refuse classes without an image: what is not tested has no recall, and leaves no geometric mean.

    Args:
        what: is missing, for example "test image".

    Raises:
        UserError: a class has none; all such are named.
    """
    if without := [f"'{name}'" for name, count in zip(class_names, counts, strict=True) if count == 0]:
        classes, have = ("class", "has") if len(without) == 1 else ("classes", "have")
        raise UserError(
            f"{classes} {', '.join(without)} {have} no {what}; add some, or leave the {classes} out altogether",
            key="path",
        )


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        UserError: it is no file.
    """
    if not path.is_file():
        raise UserError(f"{path.name} is missing in {path.parent}", key="from")
    return path


def field(fields: Any, name: str, path: Path) -> Any:
    """A field of a pickle or MATLAB file.

    Raises:
        UserError: the file has no such field.
    """
    if not isinstance(fields, dict) or name not in fields:
        raise UserError(f"{path} has no field '{name}': it is another kind of file", key="from")
    return fields[name]


def images_of_shape(array: Any, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """The array itself, or the file's data set of one.

    Args:
        shape: that the array must have; None is for any number.

    Raises:
        UserError: it is not uint8 or has another shape.
    """
    found = np.shape(array)
    if (
        getattr(array, "dtype", None) != np.uint8
        or len(found) != len(shape)
        or any(wanted not in (None, there) for wanted, there in zip(shape, found, strict=True))
    ):
        raise UserError(
            f"the images in {path} are {getattr(array, 'dtype', type(array))} of shape {found}; wanted is "
            f"uint8 of shape {shape}",
            key="from",
        )
    return cast(np.ndarray, array)  # HDF5's data sets are read by slices like arrays


def load_matlab(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file.

    Raises:
        UserError: the file is damaged.
    """
    from scipy.io import loadmat  # slow to import, and rarely needed

    try:
        return cast(dict[str, Any], loadmat(path))
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise UserError(
            f"{path} is damaged or no MATLAB file ({type(error).__name__}: {error}); fetch it again", key="from"
        ) from error


def matlab_texts(cells: np.ndarray) -> list[str]:
    """The texts of a cell array of any shape."""
    return [str(np.squeeze(cell)) for cell in cells.ravel()]


def whole_records(path: Path, length: int) -> int:
    """How many records of ``length`` bytes a file has.

    Raises:
        UserError: not a whole number.
    """
    size = path.stat().st_size
    if size % length:
        raise UserError(
            f"{path} is damaged or incomplete: its {size} bytes are not a whole number of records of {length} bytes",
            key="from",
        )
    return size // length
