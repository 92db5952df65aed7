"""SVHN (Netzer et al., 2011), format 2: digits cropped from house numbers to 32×32 pixels."""

from pathlib import Path

import numpy as np

from cissl.datasets.sources.source_files import existing, field, images_of_shape, load_matlab, require
from cissl.datasets.store import SourceImages

SIDE = 32


def read_svhn(folder: Path) -> SourceImages:
    """Training and test images; the 531 131 ``extra`` ones belong to no split of the literature at hand."""
    root = require(folder, "train_32x32.mat")
    train, train_labels = _read_part(root / "train_32x32.mat")
    test, test_labels = _read_part(existing(root / "test_32x32.mat"))
    return SourceImages(
        class_names=[str(digit) for digit in range(10)],
        train_images=train,
        train_labels=train_labels,
        test_images=test,
        test_labels=test_labels,
    )


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3), which are stored as (32, 32, 3, n), and labels, which call the digit 0 ten."""
    file = load_matlab(path)
    images = images_of_shape(field(file, "X", path), (SIDE, SIDE, 3, None), path)
    labels = field(file, "y", path).ravel().astype(np.int64)
    return images.transpose(3, 0, 1, 2), np.where(labels == 10, 0, labels)
