"""Metrics against the authors' program."""

import json
from pathlib import Path

import numpy as np
import pytest

from cissl.training import metrics

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())


def number(value):
    return float("nan") if value is None else value


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["name"])
def test_accuracy_and_geometric_mean_equal_the_authors_program(case):
    for part, key in (("train", "train_"), ("valid", "valid_"), ("test", "")):
        confusion = metrics.confusion_matrix(case[f"{key}labels"], case[f"{key}predictions"], case["nclass"])
        assert metrics.accuracy(confusion) == pytest.approx(number(case[f"accuracy_{part}"]), abs=1e-4, nan_ok=True)
    assert metrics.geometric_mean(confusion) == pytest.approx(number(case["gm_test"]), abs=1e-4, nan_ok=True)
    expected = [number(value) for value in case["per_class"]]
    np.testing.assert_allclose(metrics.per_class_accuracy(confusion), expected, atol=1e-4)


@pytest.mark.parametrize("case", REFERENCE["series"])
def test_window_summaries_equal_the_authors_script(case):
    for window, values in metrics.window_summaries(case["values"]).items():
        assert values["median"] == pytest.approx(case["median"][window], abs=1e-4)
        assert values["mean"] == pytest.approx(case["arithmetic_mean"][window], abs=1e-4)


def test_confusion_matrix_has_true_classes_as_rows():
    confusion = metrics.confusion_matrix(np.array([0, 0, 2]), np.array([1, 0, 2]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_a_class_never_hit_counts_as_one_hundredth_of_a_share():
    confusion = metrics.confusion_matrix(np.array([0, 1]), np.array([0, 0]), 2)
    assert metrics.geometric_mean(confusion) == pytest.approx(100 * (1 * 1 / 200) ** 0.5)


def test_no_samples_give_nan_and_no_exception():
    empty = metrics.confusion_matrix(np.zeros(0, int), np.zeros(0, int), 3)
    assert np.isnan(metrics.accuracy(empty)) and np.isnan(metrics.geometric_mean(empty))
