"""Some hundreds of cases of malformed and unusual input; ``python -m tests.fuzz`` makes more."""

import pytest

from tests.fuzz.__main__ import check, main
from tests.fuzz.kinds import KINDS, Case

CASES = {"split-names": 100, "sweep-files": 50, "training-flags": 30, "own-folders": 40, "own-arrays": 40}


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_input_ends_with_a_documented_code_and_words(kind):
    problems = [(seed, problem) for seed in range(CASES.get(kind, 20)) if (problem := check(kind, seed)[1])]
    assert problems == []


def lose_input(folder, r):
    path = folder / "input"
    path.write_text("x")
    return Case(lambda: path.unlink() or 0, (path,))


@pytest.mark.parametrize(
    "kind, words",
    [
        (lambda folder, r: Case(lambda: 1 / 0), "traceback"),
        (lambda folder, r: Case(lambda: 7), "exit code 7"),
        (lambda folder, r: Case(lambda: 2), "without a word"),
        (lose_input, "lost or changed"),
    ],
)
def test_a_case_that_is_not_held_to_is_told(kind, words, monkeypatch, capsys):
    monkeypatch.setitem(KINDS, "split-names", kind)
    assert main(["--cases", "1", "--kind", "split-names"]) == 1
    assert words in capsys.readouterr().out
