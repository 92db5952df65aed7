"""The data set that needs no download: 1797 handwritten digits, which scikit-learn carries."""

import functools
import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cissl.datasets.store import Images, Seen, content_hash, npy_sha256

TEST_PERCENT = 30


def digits() -> Images:
    """Scans of 8×8 pixels and 17 gray levels (Alpaydin and Kaynak, UCI, 1998), spread over 0 to 255.

    The last 30 % of each class are the test set. The scans lie in the order in which they were collected,
    writer after writer, so that the test digits come from other hands than nearly all of the training
    digits; a random division would test on the writers it trained on and flatter every method.
    """
    scans = _scans()
    images = np.round(scans[:, :64].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = scans[:, 64]
    is_test = _last_of_each_class(labels, TEST_PERCENT)
    arrays = {
        "train_images": images[~is_test],
        "train_labels": labels[~is_test],
        "test_images": images[is_test],
        "test_labels": labels[is_test],
    }
    seen = Seen(class_names=[str(digit) for digit in range(10)], mirror=False, shift=1)
    sha256_of = {name: npy_sha256(array) for name, array in arrays.items()}
    return Images(
        **seen,
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"],
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"],
        content_hash=content_hash(sha256_of=sha256_of, **seen),
    )


@functools.cache
def _scans() -> np.ndarray:
    """Gray levels and class of each scan, int64 (N, 64 + 1).

    Read from scikit-learn's file as it lies there: to import the library takes each process seconds.
    """
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is a requirement of this package"
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.int64)


def _last_of_each_class(labels: np.ndarray, percent: int) -> np.ndarray:
    """A mask (N,) of the last ``percent`` of each class, rounded down."""
    mask = np.zeros(len(labels), dtype=bool)
    for k in np.unique(labels):
        members = np.flatnonzero(labels == k)
        mask[members[len(members) - len(members) * percent // 100 :]] = True
    return mask
