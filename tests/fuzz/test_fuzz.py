"""Some hundreds of cases of malformed and unusual input; ``python -m tests.fuzz`` makes more."""

import re

import pytest

from cissl.errors import UserError
from tests.fuzz.__main__ import main
from tests.fuzz.case import Case, Checker, check
from tests.fuzz.endings import die, hang_in_c_code
from tests.fuzz.kinds import KINDS

CASES = {"split-names": 60, "sweep-files": 40, "own-folders": 30, "own-arrays": 30, "sweeps": 1}


@pytest.fixture(scope="module")
def checker():
    with Checker() as checker:
        yield checker


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_input_ends_with_a_documented_code_and_words(kind, checker):
    seeds = [f"{kind} {number}" for number in range(CASES.get(kind, 15))]
    problems = [(seed, problem) for seed in seeds if (problem := checker.check(KINDS[kind], seed)[1])]
    assert problems == []


def fail(folder, r):
    return Case(call=lambda: 1 / 0)


def end_with_7(folder, r):
    return Case(call=lambda: 7)


def refuse_with_text_as_python_does(folder, r):
    def call():
        raise SystemExit("a mistake")

    return Case(call=call)


def refuse_in_other_words(folder, r):
    def call():
        raise UserError("something is wrong")

    return Case(call=call, culprits=("lr", "0.1x"))


def lose_input(folder, r):
    path = folder / "input"
    path.write_text("x")
    return Case(call=lambda: path.unlink() or 0, kept=(path,))


def leave_a_file(folder, r):
    (folder / "out").mkdir()
    return Case(call=lambda: (folder / "out" / ".own.partial").write_text("x") and 0, writes=(folder / "elsewhere",))


def leave_what_was_refused(folder, r):
    (folder / "out").mkdir()

    def call():
        (folder / "out" / "half").write_text("x")
        return 2

    return Case(call=call, writes=(folder / "out",))


def find_something_else_wrong(folder, r):
    return Case(call=lambda: 0, after=lambda code: f"code {code} is too good")


@pytest.mark.parametrize(
    "kind, words",
    [
        (fail, "a traceback: .*ZeroDivisionError"),
        (end_with_7, "exit code 7"),
        (refuse_with_text_as_python_does, "exit code 1; it says: a mistake"),
        (refuse_in_other_words, r"none of \('lr', '0.1x'\) is named; it says: error: something is wrong"),
        (lose_input, "lost or changed: .*input"),
        (leave_a_file, "is left behind: .*out/.own.partial"),
        (leave_what_was_refused, "is left behind: .*out/half"),
        (find_something_else_wrong, "code 0 is too good"),
    ],
)
def test_what_a_case_does_not_hold_to_is_told(kind, words):
    assert re.search(words, check(kind, "0")[1], flags=re.DOTALL)


def test_a_case_that_hangs_or_dies_is_a_failure_of_that_case_alone(monkeypatch, capfd):
    monkeypatch.setitem(KINDS, "splits", hang_in_c_code)
    monkeypatch.setitem(KINDS, "records", die)
    monkeypatch.setattr(
        "tests.fuzz.__main__.KINDS", {name: KINDS[name] for name in ("splits", "records", "split-names")}
    )
    assert main(["--cases", "3"], seconds=4) == 1
    out, err = capfd.readouterr()
    assert "--kind splits --seed 0 --cases 1: does not end within 4 s" in out and "endings.py" in err
    assert "--kind records --seed 0 --cases 1: ends the process with exit code 7" in out
    assert "3 cases, 2 failures" in out
