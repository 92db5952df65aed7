"""What a split consists of: class counts, overlap between its parts, and pictures."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cissl.datasets import splits
from cissl.datasets.dataset import Dataset
from cissl.datasets.progress_bar import tracked
from cissl.datasets.store import Images
from cissl.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = ("labeled", "unlabeled", "validation", "test")
BARS = "#555555"  # one thing is drawn, which needs no colour
SHEET_ROWS, SHEET_COLUMNS = 20, 20  # classes, and images of each, on the contact sheet


def report(data: Dataset) -> str:
    """Class counts, the split's hash and the overlap matrix, as text."""
    weak = f"{'mirror + ' if data.mirror else ''}shift {data.shift}"
    return "\n".join(
        [
            f"{data.spec}: {data.classes} classes, {data.side}×{data.side} pixels, {data.channels} channel"
            f"{'s' if data.channels > 1 else ''}; weak augmentation {weak}",
            f"split hash {data.split_hash}, content hash {data.content_hash}",
            "",
            _counts_table(data),
            "",
            "Images (by content) that a part shares with another; the diagonal is its number of different images.",
            "Labeled images are unlabeled or validation images too; _HELDOUT keeps them out of validation, _DISJOINT",
            "out of both. The test column should be empty but for duplicates in the data set itself.",
            _table([["", *PARTS], *([part, *row] for part, row in zip(PARTS, overlap(data).tolist(), strict=True))]),
        ]
    )


def contents(images: Images) -> str:
    """Training and test images of each class, and how many have no class, as text."""
    classes = len(images.class_names)
    counts = [splits.class_counts(labels, classes) for labels in (images.train_labels, images.test_labels)]
    rows = [
        [name, *row] for name, *row in zip(images.class_names, *(column.tolist() for column in counts), strict=True)
    ]
    if unlabeled := int(np.count_nonzero(images.train_labels < 0)):
        rows.append(["(unlabeled)", unlabeled, 0])
    totals = ["total", len(images.train_labels), len(images.test_labels)]
    return _table([["class", "training", "test"], *rows, totals])


def look_alikes(class_names: Sequence[str]) -> list[str]:
    """Classes whose names differ in capitals alone: perhaps one class, and one folder on other systems."""
    groups = defaultdict(list)
    for name in class_names:
        groups[name.casefold()].append(f"'{name}'")
    return [
        f"the classes {' and '.join(group)} differ in capitals alone; if they are one, join them"
        for group in groups.values()
        if len(group) > 1
    ]


def repeats(images: Images) -> list[str]:
    """What a person should know of images that are there several times: leaks into the test set, and contradictions."""
    classes_of: dict[bytes, set[int]] = defaultdict(set)
    for image, label in zip(tracked(images.train_images, "compare images"), images.train_labels.tolist(), strict=True):
        classes_of[_hash(image)].add(label)
    leaked = sum(_hash(image) in classes_of for image in tracked(images.test_images, "compare images"))
    contradictory = sum(len(classes - {-1}) > 1 for classes in classes_of.values())
    remarks = {
        f"{leaked} of {len(images.test_images)} test images are training or unlabeled images too": leaked,
        f"{contradictory} training images are in several classes": contradictory,
    }
    return [remark for remark, holds in remarks.items() if holds]


def part_counts(data: Dataset) -> dict[str, np.ndarray]:
    """Part → images per class, int64 (C + 1,); the last entry counts those whose class is unknown."""
    labels = {part: source[indices] for part, (source, indices) in _parts(data, data.labels, data.test_labels).items()}
    return {
        part: np.append(splits.class_counts(of_part, data.classes), np.count_nonzero(of_part < 0))
        for part, of_part in labels.items()
    }


def overlap(data: Dataset) -> np.ndarray:
    """How many different images two parts have in common, int64 (4, 4); the diagonal counts a part's own."""
    hashes = []
    for part, (images, indices) in _parts(data, data.images, data.test_images).items():
        hashes.append({_hash(images[index]) for index in tracked(np.sort(indices), f"hash {part}")})
    return np.array([[len(one & other) for other in hashes] for one in hashes])


def plot(data: Dataset, path: Path) -> None:
    """Draw class distributions and a contact sheet of labeled images.

    Raises:
        UserError: matplotlib is not installed, or does not write files with this suffix.
        OSError: the file cannot be written.
    """
    figure_class = _matplotlib_figure()
    rows = min(data.classes, SHEET_ROWS)
    figure = figure_class(figsize=(12, 5 + 0.6 * rows), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[5, 0.6 * rows])[:, 0]
    above.suptitle(f"{data.spec}   split {data.split_hash}")
    _draw_distributions(data, above.subplots(1, len(PARTS)))
    _draw_sheet(data, below.subplots(), rows)
    try:
        figure.savefig(path, dpi=100)
    except ValueError as error:
        raise UserError(f"--plot {path}: {error}", key="plot") from None
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails gives none
        raise


def _parts(data: Dataset, of_training: np.ndarray, of_test: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Part → the array it is found in, and its indices there."""
    return {
        "labeled": (of_training, data.labeled),
        "unlabeled": (of_training, data.unlabeled),
        "validation": (of_training, data.valid),
        "test": (of_test, np.arange(len(of_test))),
    }


def _hash(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _counts_table(data: Dataset) -> str:
    counts = part_counts(data)
    names = [*data.class_names, "(unknown)"]
    rows = [[name, *row] for name, *row in zip(names, *(column.tolist() for column in counts.values()), strict=True)]
    if not any(column[-1] for column in counts.values()):
        rows.pop()
    totals = ["total", *(int(column.sum()) for column in counts.values())]
    return _table([["class", *PARTS], *rows, totals])


def _table(rows: Sequence[Sequence[object]]) -> str:
    """Columns of equal width, the first to the left and the others to the right."""
    first = max(len(str(row[0])) for row in rows)
    return "\n".join(f"{row[0]!s:<{first}}" + "".join(f"{cell!s:>12}" for cell in row[1:]) for row in rows)


def _matplotlib_figure() -> "type[Figure]":
    """The one place that imports matplotlib; its figures need no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        message = 'drawing needs matplotlib; run: pip install -c constraints.txt -e ".[analysis]"'
        raise UserError(message, key="plot") from None
    return Figure


def _draw_distributions(data: Dataset, axes: "Sequence[Axes]") -> None:
    for axis, (part, counts) in zip(axes, part_counts(data).items(), strict=True):
        known, unknown = counts[:-1], counts[-1]
        axis.bar(np.arange(data.classes), known, width=0.8 if data.classes <= SHEET_ROWS else 1.0, color=BARS)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_title(f"{part}: {counts.sum()}" + (f" ({unknown} of unknown class)" if unknown else ""), fontsize=10)
        axis.set_xlabel("class")
        axis.locator_params(axis="y", integer=True)
        if data.classes <= SHEET_ROWS:
            axis.set_xticks(np.arange(data.classes), data.class_names, rotation=90, fontsize=7)
    axes[0].set_ylabel("images")


def _draw_sheet(data: Dataset, axis: "Axes", rows: int) -> None:
    """The first labeled images of the first classes, a class in each row."""
    side, pitch = data.side, data.side + max(1, data.side // 16)
    sheet = np.full((rows * pitch, SHEET_COLUMNS * pitch, data.channels), 255, dtype=np.uint8)
    labels = data.labels[data.labeled]
    for row in range(rows):
        for column, index in enumerate(data.labeled[labels == row][:SHEET_COLUMNS]):
            top, left = row * pitch, column * pitch
            sheet[top : top + side, left : left + side] = data.images[index]
    axis.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, aspect="equal", interpolation="nearest")
    axis.set_yticks(np.arange(rows) * pitch + side / 2, data.class_names[:rows], fontsize=8)
    axis.set_xticks([])
    classes = "" if rows == data.classes else f", the first {rows} of {data.classes} classes"
    axis.set_title(f"labeled images, at most {SHEET_COLUMNS} of a class{classes}", fontsize=10)
