"""Image files as arrays: what a viewer shows, and every file that cannot be read named at once."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from PIL import Image, ImageColor, ImageOps

from cissl.datasets.progress_bar import tracked
from cissl.datasets.store import ImageStream, UnfitImages
from cissl.errors import UserError, nearest

Result = TypeVar("Result")
GRAY_MODES = {"1", "L", "LA", "La"}
DEEP_MODES = {"F", "I", "I;16", "I;16B", "I;16L", "I;16N"}
SMALLEST_SIDE = 8  # pixels
FITS = {"stretch": "stretched", "crop": "cropped in the middle", "pad": "padded with the background"}
CHUNK, CHUNK_BYTES = 512, 64 * 2**20  # images decoded together: at most so many, and in so much memory
UNREADABLE = "mend, convert or remove what cannot be read"
TOO_DEEP = "convert what has more than 8 bits, or import it with the value that is white, such as --white 65535"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files become arrays.

    Raises:
        UserError: a value is impossible.
    """

    side: int | None = None
    """Resize to squares of this many pixels; without it, images must be squares of one size."""
    background: str = "gray"
    """Colour that is put under transparent parts, as a name or ``#rrggbb``: gray hides neither black nor white."""
    white: float | None = None
    """Value that becomes white (255) in images of more than 8 bits per channel, 0 being black; without it, such
    images are refused, since their files do not say how many of the bits are used."""
    fit: str = "stretch"
    """How an image that is no square becomes one: ``stretch`` both sides to the same length, ``crop`` the middle, or
    ``pad`` with the background."""

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise UserError(f"unknown fit '{self.fit}'{nearest(self.fit, FITS)}", key="fit")
        try:
            ImageColor.getrgb(self.background)
        except ValueError:
            raise UserError(
                f"background '{self.background}' is no colour; write a name such as white or gray, or #rrggbb",
                key="background",
            ) from None
        if self.side is not None and self.side < SMALLEST_SIDE:
            raise UserError(f"the side, {self.side}, is below {SMALLEST_SIDE} pixels", key="side")
        if self.white is not None and not 0 < self.white < float("inf"):
            raise UserError(f"the value of white, {self.white}, is not a number above 0", key="white")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the header of an image file says."""

    size: tuple[int, int]
    """Width and height in pixels"""
    gray: bool
    oddities: tuple[str, ...]
    """What about it a person should know, as the end of a sentence about images"""


def repeated_labels(images_by_class: Sequence[Sequence[object]]) -> np.ndarray:
    """Labels int64 of images that follow each other class by class."""
    return np.repeat(np.arange(len(images_by_class)), [len(images) for images in images_by_class])


def common_shape(paths: Sequence[Path], reading: Reading) -> tuple[int, int, list[str]]:
    """Side in pixels and channels (1 if all are gray, else 3) of images, from their headers; and remarks on them.

    Raises:
        UnfitImages: images cannot be read, or have more than 8 bits without ``white``; all are named.
        UserError: they are no squares of one size, and ``side`` is None.
    """
    tried = [_look(path, reading) for path in tracked(paths, "look at files")]
    looks = [look for look in tried if not isinstance(look, UnfitImages)]
    if len(looks) < len(tried):
        raise _all_unfit(paths, tried, reading)
    sizes = defaultdict(list)
    for path, look in zip(paths, looks, strict=True):
        sizes[look.size].append(path)
    side = reading.side
    if side is None:
        side = min(sizes)[0]
        if len(sizes) > 1 or (side, side) not in sizes:
            raise UserError(_several_sizes(sizes), key="path")
    odd = Counter(oddity for look in looks for oddity in look.oddities)
    remarks = [f"{count} of {len(paths)} images {oddity}" for oddity, count in odd.items()]
    if unequal := sum(len(found) for (width, height), found in sizes.items() if width != height):
        remarks.append(f"{unequal} of {len(paths)} images are no squares: they were {FITS[reading.fit]} to squares")
    return side, 1 if all(look.gray for look in looks) else 3, remarks


def image_stream(
    items: Sequence[Path | np.ndarray], side: int, channels: int, reading: Reading | None = None
) -> ImageStream:
    """Image files, or images that are in memory already, as a stream of decoded images.

    Args:
        items: paths, or uint8 (side, side, channels).
        side: of the images, in pixels.
        channels: of the images, 1 or 3.
        reading: how files become arrays.

    Raises:
        UnfitImages: at the end of the stream, if images could not be decoded.
    """
    reading = reading or Reading()
    count = max(1, min(CHUNK, CHUNK_BYTES // max(1, side * side * channels)))

    def decode(item: Path | np.ndarray) -> np.ndarray | UnfitImages:
        return item if isinstance(item, np.ndarray) else _tried(lambda: decode_image(item, side, channels, reading))

    def chunks() -> Iterator[np.ndarray]:
        unfit, blank = [], np.zeros((side, side, channels), dtype=np.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release Python's lock
            for start in range(0, len(items), count):
                images = list(pool.map(decode, items[start : start + count]))
                unfit += _unfit_among(images)
                yield np.stack([blank if isinstance(image, UnfitImages) else image for image in images])
        if unfit:
            raise UnfitImages.joined(unfit)

    return ImageStream((len(items), side, side, channels), chunks())


def decode_image(path: Path, side: int, channels: int, reading: Reading) -> np.ndarray:
    """One image as a viewer shows it: uint8 (side, side, channels), resized where it has another size.

    It is turned as its EXIF tag says; under its transparent parts lies the background, so that colours which nobody
    sees have no influence; of several frames it is the first.

    Raises:
        UnfitImages: the file cannot be decoded, or has more than 8 bits without ``white``.
    """
    with _opened(path) as image:
        return in_shape(image, side, channels, reading, path)


def decode_images(paths: Sequence[Path], side: int, channels: int, reading: Reading) -> list[np.ndarray]:
    """Decode several images with `decode_image`: uint8 (side, side, channels) each.

    Raises:
        UnfitImages: some cannot be decoded; all of them are named.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release Python's lock
        images = list(pool.map(lambda path: _tried(lambda: decode_image(path, side, channels, reading)), paths))
    if unfit := _unfit_among(images):
        raise UnfitImages.joined(unfit)
    return [image for image in images if not isinstance(image, UnfitImages)]


def in_shape(image: Image.Image, side: int, channels: int, reading: Reading, path: Path = Path("image")) -> np.ndarray:
    """Bring an open image into shape: uint8 (side, side, channels), as `decode_image` gives it.

    Args:
        path: of the image, for messages.

    Raises:
        UnfitImages: it has more than 8 bits without ``white``.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_MODES:
        image = _in_8_bits(image, path, reading)
    if image.has_transparency_data:
        image = _on_background(image, reading.background)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (side, side):
        image = _square(image, side, reading)
    return np.asarray(image).reshape(side, side, channels)


def _square(image: Image.Image, side: int, reading: Reading) -> Image.Image:
    size, method = (side, side), Image.Resampling.LANCZOS
    if reading.fit == "crop":
        return ImageOps.fit(image, size, method)
    if reading.fit == "pad":
        background = Image.new("RGB", (1, 1), ImageColor.getrgb(reading.background)[:3]).convert(image.mode)
        return ImageOps.pad(image, size, method, color=cast(int | tuple[int, ...], background.getpixel((0, 0))))
    return image.resize(size, method)


def _look(path: Path, reading: Reading) -> Look | UnfitImages:
    return _tried(lambda: _header(path, reading))


def _header(path: Path, reading: Reading) -> Look:
    with _opened(path) as image:
        deep, tile = image.mode in DEEP_MODES, str(getattr(image, "tile", ""))
        if deep and reading.white is None:
            raise _too_deep(path, image)
        oddities = {
            "have transparent parts, which were put on the background colour": image.has_transparency_data,
            "have several frames, of which the first was taken": getattr(image, "is_animated", False),
            "have 16 bits per channel, of which the upper 8 were taken": not deep and ";16" in tile,
        }
        return Look(
            size=image.size,
            gray=deep or image.mode in GRAY_MODES,
            oddities=tuple(oddity for oddity, holds in oddities.items() if holds),
        )


def _in_8_bits(image: Image.Image, path: Path, reading: Reading) -> Image.Image:
    if reading.white is None:
        raise _too_deep(path, image)
    values = np.asarray(image).astype(np.float64)
    if not (values.min() >= 0 and values.max() <= reading.white):  # so that NaN is refused too
        found = f"has values from {values.min():g} to {values.max():g}, not from 0 to --white {reading.white:g}"
        raise UnfitImages([(path, found, TOO_DEEP)])
    scaled = Image.fromarray(np.round(values * (255 / reading.white)).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return scaled


def _on_background(image: Image.Image, colour: str) -> Image.Image:
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, (*ImageColor.getrgb(colour)[:3], 255)), seen)


def _all_unfit(paths: Sequence[Path], looks: Sequence[Look | UnfitImages], reading: Reading) -> UnfitImages:
    """Those whose header is unfit and, of the others, those that cannot be decoded."""
    sound = [path for path, look in zip(paths, looks, strict=True) if isinstance(look, Look)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        watched = tracked(sound, "look for others")
        decoded = pool.map(lambda path: _tried(lambda: decode_image(path, 8, 3, reading)), watched)
        return UnfitImages.joined(_unfit_among([*looks, *decoded]))


def _unfit_among(results: Sequence[object]) -> list[UnfitImages]:
    return [result for result in results if isinstance(result, UnfitImages)]


def _tried(read: Callable[[], Result]) -> Result | UnfitImages:
    """What the function returns, or the images that it refuses."""
    try:
        return read()
    except UnfitImages as unfit:
        return unfit


def _several_sizes(sizes: dict[tuple[int, int], list[Path]]) -> str:
    described = "; ".join(
        f"{len(paths)} {'have' if len(paths) > 1 else 'has'} {width}×{height} ({paths[0]})"
        for (width, height), paths in sorted(sizes.items(), key=lambda item: -len(item[1]))[:5]
    )
    more = f"; and {len(sizes) - 5} sizes more" if len(sizes) > 5 else ""
    return (
        f"the images must be squares of one size, but of their widths and heights in pixels {described}{more}; add "
        f"--side PIXELS to resize them all"
    )


def _too_deep(path: Path, image: Image.Image) -> UnfitImages:
    return UnfitImages([(path, f"has more than 8 bits per channel (mode {image.mode})", TOO_DEEP)])


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        if path.exists() and path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with Image.open(path) as image:
            yield image
    except UserError:
        raise
    except Exception as error:  # a file of any content can raise anything
        raise UnfitImages([(path, f"is not a readable image ({error})", UNREADABLE)]) from error
