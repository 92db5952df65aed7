"""Image files of a folder as arrays."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from cissl.datasets.progress import tracked
from cissl.datasets.store import ImageStream
from cissl.errors import UserError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
GRAY_MODES = {"1", "L", "LA"}
DEEP_MODES = {"F", "I", "I;16", "I;16B", "I;16L"}
CHUNK = 512  # images


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name.

    Raises:
        UserError: there is none.
    """
    found = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise UserError(f"the folder {folder} has no images ({', '.join(sorted(SUFFIXES))})", key="path")
    return found


def class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def repeated_labels(images_by_class: Sequence[Sequence]) -> np.ndarray:
    """Labels int64 of images that follow each other class by class."""
    return np.repeat(np.arange(len(images_by_class)), [len(images) for images in images_by_class])


def common_shape(paths: Sequence[Path], side: int | None = None) -> tuple[int, int]:
    """Side in pixels and channels (1 if all are gray, else 3) of images, from their headers.

    Args:
        side: what they will be resized to; without it they must be squares of one size.

    Raises:
        UserError: an image is unreadable, of another size, or of more than 8 bits.
    """
    headers = [_header(path) for path in tracked(paths, "look at files")]
    if side is None:
        side = headers[0][0]
        for path, (width, height, _) in zip(paths, headers, strict=True):
            if (width, height) != (side, side):
                raise UserError(
                    f"{path} has {width}×{height} pixels, but {paths[0]} is {side} wide: the images must "
                    f"be squares of one size; add --side PIXELS to resize them all",
                    key="path",
                )
    return side, 1 if all(mode in GRAY_MODES for _, _, mode in headers) else 3


def image_stream(items: Sequence[Path | np.ndarray], side: int, channels: int) -> ImageStream:
    """Image files, or images that are in memory already, as a stream of decoded images.

    Raises:
        UserError: while it is read, for an image that cannot be decoded.
    """

    def decode(item: Path | np.ndarray) -> np.ndarray:
        return item if isinstance(item, np.ndarray) else decode_image(item, side, channels)

    def chunks() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release Python's lock
            for start in range(0, len(items), CHUNK):
                yield np.stack(list(pool.map(decode, items[start : start + CHUNK])))

    return ImageStream((len(items), side, side, channels), chunks())


def decode_image(path: Path, side: int, channels: int) -> np.ndarray:
    """One image: uint8 (side, side, channels), resized where it has another size.

    Raises:
        UserError: the file is damaged.
    """
    with _opened(path) as image:
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        return np.asarray(image).reshape(side, side, channels)


def _header(path: Path) -> tuple[int, int, str]:
    with _opened(path) as image:
        if image.mode in DEEP_MODES:
            raise UserError(
                f"{path} has more than 8 bits per channel (mode {image.mode}); convert it first", key="path"
            )
        return *image.size, image.mode


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a readable image ({error}); mend it or remove it", key="path") from error
