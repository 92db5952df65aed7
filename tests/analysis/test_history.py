"""Reading ``history.jsonl``: columns, their types, and what is said about damaged lines."""

import json

import numpy as np
import pytest

from cissl.analysis.history import SCALARS, THRESHOLDS, VECTORS, empty_history, read_history, read_measured

HUGE = int("9" * 400)  # a whole number that Python reads and no float can hold; Arrow reads it as infinity


def line(step, **columns):
    return json.dumps({name: None for name in SCALARS} | {"step": step} | columns).encode() + b"\n"


def test_columns_have_one_entry_for_each_evaluation():
    text = line(1, accuracy=50, per_class=[25, None]) + line(2, accuracy=None, per_class=None)
    history = read_history(text, VECTORS)
    np.testing.assert_array_equal(history["step"], [1, 2])
    np.testing.assert_array_equal(history["accuracy"], [50, np.nan])
    np.testing.assert_array_equal(history["per_class"], [[25, np.nan], [np.nan, np.nan]])
    assert history["class_prior"].shape == (2, 0)
    assert {history[name].dtype for name in SCALARS} == {np.dtype(np.float64)}
    assert {history[name].dtype for name in VECTORS} == {np.dtype(np.float32)}


def test_a_trial_without_history_has_all_columns():
    history = empty_history(VECTORS)
    assert set(history) == {*SCALARS, *VECTORS}
    assert history["step"].shape == (0,) and history[THRESHOLDS].shape == (0, 0)


@pytest.mark.parametrize("vectors", [(), ("per_class", THRESHOLDS)])
def test_both_parsers_read_the_same(vectors):
    text = b"".join(
        line(k, accuracy=k / 3, per_class=[k, 2.5], measured={"thresholds": [0.9, 0.95], "x": [[k]]}) for k in (1, 2, 3)
    )
    fast, slow = read_history(text, vectors), read_history(b" " + text, vectors)  # a blank makes it take the slow one
    assert fast.keys() == slow.keys() == {*SCALARS, *vectors}
    for name in fast:
        np.testing.assert_array_equal(fast[name], slow[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(1) + b'{"step": 2', "line 2 is cut short or damaged"),
        (line(1) + b"[1]\n", "line 2 is cut short or damaged"),
        (line(1) + line(1), "steps do not increase"),
        (line(None), "steps do not increase"),
        (line(1, accuracy="high"), "'accuracy' is not a number in every line"),
        (b" " + line(1, accuracy=HUGE), "'accuracy' is not a number in every line"),
        (line(1, per_class=[1, 2]) + line(2, per_class=[1]), "'per_class' is no list of one number per class"),
        (b" " + line(1, per_class=[HUGE]), "'per_class' is no list of one number per class"),
    ],
)
def test_damage_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_history(text, VECTORS)


def test_what_methods_measured():
    rows = [{"rate": 0.5, "values": [1, 2], "text": "a"}, None, {"rate": 1, "late": 3, "values": [3, 4], "huge": HUGE}]
    found = read_measured(b"".join(line(k, measured=row) for k, row in enumerate(rows)))
    assert set(found) == {"rate", "values", "late"}
    np.testing.assert_array_equal(found["rate"], [0.5, np.nan, 1])
    np.testing.assert_array_equal(found["late"], [np.nan, np.nan, 3])
    np.testing.assert_array_equal(found["values"], [[1, 2], [np.nan, np.nan], [3, 4]])


def test_most_trials_measure_nothing():
    assert read_measured(line(1) + line(2)) == {}
