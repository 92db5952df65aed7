"""Accuracy, geometric mean and summaries of a series, as the authors' program computes them; all in percent."""

from collections.abc import Sequence

import numpy as np

WINDOWS = (1, 10, 20, 50)  # evaluations


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often each class is predicted for images of each class.

    Args:
        labels: true classes, (N,) integer.
        predictions: predicted classes, (N,) integer.
        classes: C.

    Returns:
        Counts, (C, C) int64: a row for each true class, a column for each predicted one.
    """
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: np.ndarray) -> float:
    """Share of the images that are classified rightly, in percent; NaN without images. `confusion` is (C, C) int."""
    total = confusion.sum()
    return 100.0 * float(np.trace(confusion) / total) if total else float("nan")


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Accuracy on the images of each class, (C,) float64 in percent; NaN for a class without images.

    Args:
        confusion: see `confusion_matrix`, (C, C) int.
    """
    counts = confusion.sum(1)
    shares = np.full(len(counts), np.nan)
    np.divide(np.diag(confusion), counts, out=shares, where=counts > 0)
    return 100.0 * shares


def geometric_mean(confusion: np.ndarray) -> float:
    """Geometric mean of the classes' accuracies, in percent; NaN if a class has no images.

    An accuracy of 0 counts as a share of 1/(100·C), as in the authors' program.

    Args:
        confusion: see `confusion_matrix`, (C, C) int.
    """
    shares = per_class_accuracy(confusion) / 100.0
    shares[shares == 0] = 1.0 / (100 * len(shares))
    return 100.0 * float(np.exp(np.mean(np.log(shares))))


def window_summaries(series: Sequence[float]) -> dict[str, dict[str, float]]:
    """Mean and median of the last 1, 10, 20 and 50 values; all values where there are fewer.

    The paper reports the mean, the authors' script prints the median.

    Args:
        series: figures of the evaluations, oldest first.

    Returns:
        ``last01``, ``last10``, ``last20`` and ``last50`` → ``mean`` and ``median``.
    """
    return {
        f"last{window:02d}": {"mean": float(np.mean(series[-window:])), "median": float(np.median(series[-window:]))}
        for window in WINDOWS
    }
