"""Accuracy, geometric mean and summaries of a series, as the authors' program computes them; all in percent."""

from collections.abc import Sequence

import numpy as np

WINDOWS = (1, 10, 20, 50)  # evaluations


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts (C, C) int64: rows true classes, columns predictions. Labels and predictions are (N,) int."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: np.ndarray) -> float:
    """Share of hits, percent; NaN without samples."""
    total = confusion.sum()
    return 100.0 * float(np.trace(confusion) / total) if total else float("nan")


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of hits of each true class, (C,) percent; NaN for a class without samples."""
    counts = confusion.sum(1)
    return 100.0 * np.divide(np.diag(confusion), counts, out=np.full(len(counts), np.nan), where=counts > 0)


def geometric_mean(confusion: np.ndarray) -> float:
    """Geometric mean of the class accuracies, percent.

    A class that is never hit counts with a share of 1/(100·C); a class without samples gives NaN.
    """
    shares = per_class_accuracy(confusion) / 100.0
    shares[shares == 0] = 1.0 / (100 * len(shares))
    return 100.0 * float(np.exp(np.mean(np.log(shares))))


def window_summaries(series: Sequence[float]) -> dict[str, dict[str, float]]:
    """Mean (the paper's figure) and median (the reference's script) of the last 1, 10, 20 and 50 values.

    A series shorter than the window is taken whole.
    """
    return {
        f"last{window:02d}": {"mean": float(np.mean(series[-window:])), "median": float(np.median(series[-window:]))}
        for window in WINDOWS
    }
