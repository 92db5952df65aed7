"""A trial's history on the disk: each evaluation costs the same, and one can go back to where a checkpoint was."""

import json
import os

import numpy as np
import pytest

from cissl.errors import UserError
from cissl.training import records
from cissl.training.records import History, Mark, read_history

CLASSES = 3


def row(step):
    return {"step": step, "accuracy": 10.0 * step, "gmean": float("nan") if step == 2 else 5.0, "per_class": [1.5, 2.5]}


def matrix(step):
    return np.arange(CLASSES**2).reshape(CLASSES, CLASSES) + step


def begun(folder, steps=(), mark=None):
    folder.mkdir(exist_ok=True)
    history = History(folder)
    history.begin(mark or Mark())
    for step in steps:
        history.add(row(step), matrix(step))
    return history


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_added_can_be_read(tmp_path):
    begun(tmp_path, [1, 2, 3])
    assert read_history(tmp_path) == [records.without_nan(row(step)) for step in (1, 2, 3)]
    confusions = np.load(tmp_path / "confusion.npy")
    assert confusions.dtype == np.int32
    np.testing.assert_array_equal(confusions, [matrix(step) for step in (1, 2, 3)])
    summary = json.loads((tmp_path / "stats" / "accuracy.json").read_text())
    assert summary["last01"]["mean"] == 30 and summary["last10"]["mean"] == 20
    assert json.loads((tmp_path / "stats" / "GM.json").read_text())["last10"]["mean"] is None


def test_added_one_by_one_or_at_once_the_files_are_the_same(tmp_path):
    begun(tmp_path / "one", [1, 2, 3]).mark()
    mark = records.write_history(
        tmp_path / "other", [row(s) for s in (1, 2, 3)], np.stack([matrix(s) for s in (1, 2, 3)])
    )
    begun(tmp_path / "other", mark=mark)
    assert files(tmp_path / "one") == files(tmp_path / "other")
    assert begun(tmp_path / "other", [4], mark).mark() == begun(tmp_path / "third", [1, 2, 3, 4]).mark()


def test_an_evaluation_writes_as_much_after_a_thousand_as_after_one(tmp_path, monkeypatch):
    """Counted where every byte passes: calls of `write` and what they wrote."""
    written = []
    real = records.write_at
    monkeypatch.setattr(
        records, "write_at", lambda path, *pieces: (written.append(sum(len(p[1]) for p in pieces)), real(path, *pieces))
    )
    history = begun(tmp_path)
    costs = []
    for step in range(1000, 2000):
        written.clear()
        history.add(row(step), matrix(step))
        costs.append(sum(written))
    assert max(costs) - min(costs) <= 8  # digits of the figures
    assert np.load(tmp_path / "confusion.npy").shape == (1000, CLASSES, CLASSES)


@pytest.mark.parametrize("goes_on", [[3, 4], [3], []])
def test_going_back_to_a_mark_loses_and_repeats_nothing(tmp_path, goes_on):
    history = begun(tmp_path / "one", [1, 2])
    mark = history.mark()
    for step in goes_on:
        history.add(row(step), matrix(step))
    History(tmp_path / "one").check(mark)
    begun(tmp_path / "one", [3, 4], mark)
    begun(tmp_path / "undisturbed", [1, 2, 3, 4])
    assert files(tmp_path / "one") == files(tmp_path / "undisturbed")


def test_a_process_that_dies_while_it_adds_leaves_nothing_that_counts(tmp_path):
    """As the files may be after a kill: a matrix that the head does not count yet, half a matrix, half a row."""
    mark = begun(tmp_path / "one", [1, 2]).mark()
    one = tmp_path / "one"
    with open(one / "confusion.npy", "ab") as file:
        file.write(b"\x01" * 50)
    with open(one / "history.jsonl", "ab") as file:
        file.write(b'{"step": 3, "accu')
    assert len(read_history(one)) == 2 and len(np.load(one / "confusion.npy")) == 2
    begun(one, [3], mark)
    begun(tmp_path / "undisturbed", [1, 2, 3])
    assert files(one) == files(tmp_path / "undisturbed")


def test_from_the_start_nothing_of_before_is_left(tmp_path):
    begun(tmp_path, [1, 2])
    begun(tmp_path)
    assert files(tmp_path) == {}


def cut(data):
    return data[:-10]


def change(data):
    return data[:140] + bytes([data[140] ^ 1]) + data[141:]


@pytest.mark.parametrize("name", ["history.jsonl", "confusion.npy"])
@pytest.mark.parametrize("damage", [cut, change, None])
def test_a_history_that_is_not_the_checkpoints_is_noticed(tmp_path, name, damage):
    history = begun(tmp_path, [1, 2, 3])
    mark = history.mark()
    history.check(mark)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises((ValueError, OSError), match=name):
        history.check(mark)


@pytest.mark.parametrize("name", ["history.jsonl", "confusion.npy"])
def test_a_history_that_cannot_be_read_is_not_called_another_one(tmp_path, name):
    history = begun(tmp_path, [1, 2, 3])
    mark = history.mark()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: Is a directory; put the file back from a copy, or move"):
        history.check(mark)


def test_two_processes_cannot_add_to_one_history(tmp_path):
    first = begun(tmp_path, [1, 2])
    second = begun(tmp_path, [3], first.mark())
    with pytest.raises(UserError, match="another process"):
        first.add(row(3), matrix(3))
    second.add(row(4), matrix(4))
    assert [found["step"] for found in read_history(tmp_path)] == [1, 2, 3, 4]


def test_a_damaged_line_is_named(tmp_path):
    begun(tmp_path, [1, 2, 3])
    path = tmp_path / "history.jsonl"
    for damaged in (b'{"step": 2, "accur', b"[2]", b"\xff", b""):
        lines = path.read_bytes().split(b"\n")
        path.write_bytes(b"\n".join([lines[0], damaged, *lines[2:]]))
        with pytest.raises(UserError, match=r"history\.jsonl, line 2: damaged"):
            read_history(tmp_path)


def test_a_history_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(UserError, match=r"history\.jsonl: Is a directory; put the file back from a copy, or move"):
        read_history(tmp_path)


def test_a_last_line_without_its_newline_counts_if_it_is_whole(tmp_path):
    begun(tmp_path, [1, 2])
    path = tmp_path / "history.jsonl"
    os.truncate(path, path.stat().st_size - 1)
    assert len(read_history(tmp_path)) == 2
    os.truncate(path, path.stat().st_size - 1)
    assert len(read_history(tmp_path)) == 1
