"""What must hold whatever the records are."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cissl.analysis.results import Records, load
from cissl.analysis.tables import table
from tests.analysis.synthetic_records import write_trial

figures = st.floats(0, 100, allow_nan=False, width=32)
trials = st.tuples(
    st.sampled_from(["fixmatch", "cadr"]),
    st.sampled_from([10, 20]),
    st.integers(1, 3),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from(["complete", "complete", "complete", "failed", "stopped", "running"]),
    st.lists(figures, min_size=12, max_size=12),
)
sweeps = st.lists(trials, min_size=1, max_size=7, unique_by=lambda t: t[:4])
few = settings(max_examples=10, deadline=None)


def write(folder: Path, sweep) -> list[Path]:
    return [
        write_trial(
            folder / str(k % 2),
            dataset=f"digits_LT_{ratio}.{seed}@40-100",
            algorithm=algorithm,
            seed=seed,
            cai_beta=beta,
            series=series if state == "complete" else series[:5],
            state=state,
            train_kimg=6.0,
        )
        for k, (algorithm, ratio, seed, beta, state, series) in enumerate(sweep)
    ]


def cells(records: Records) -> dict:
    made = table(records, "accuracy")
    heads = [setting for _, setting in made.headings]
    return {
        (line.label, head): entry
        for section in made.sections
        for line in section
        for head, entry in zip(heads, line.entries, strict=True)
        if entry.total
    }


def numbers(found: dict) -> dict:
    return {place: (e.number, e.n, e.total, e.best) for place, e in found.items()}


@few
@given(sweeps, st.randoms(use_true_random=False))
def test_order_of_folders_does_not_matter(sweep, random):
    with tempfile.TemporaryDirectory() as name:
        paths = write(Path(name), sweep)
        expected = numbers(cells(load([name])))
        random.shuffle(paths)
        assert numbers(cells(load(paths))) == expected


@few
@given(sweeps, st.sampled_from(["failed", "stopped", "diverged", "running"]), st.sampled_from(["fixmatch", "cadr"]))
def test_an_unfinished_trial_never_changes_another_cell(sweep, state, algorithm):
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), sweep)
        before = cells(load([name]))
        write_trial(
            Path(name) / "new",
            dataset="digits_LT_10.9@40-100",
            algorithm=algorithm,
            seed=9,
            state=state,
            rows=3,
            train_kimg=6.0,
        )
        after = cells(load([name]))
    # The new trial's settings may enter the rows' labels; figures stay, and one cell alone has a trial more.
    assert sorted(e.number for e in after.values() if e.n) == sorted(e.number for e in before.values() if e.n)
    assert sum(e.total for e in after.values()) == sum(e.total for e in before.values()) + 1
    if {label for label, _ in before} <= {label for label, _ in after}:
        (own,) = (place for place in after if place not in before or after[place].total != before[place].total)
        assert {p: e for p, e in numbers(after).items() if p != own} == {
            p: e for p, e in numbers(before).items() if p != own
        }


@few
@given(sweeps)
def test_every_trial_is_counted_once(sweep):
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), sweep)
        found = cells(load([name]))
    assert sum(e.total for e in found.values()) == len(sweep)
    assert sum(e.n for e in found.values()) == sum(state == "complete" for *_, state, _ in sweep)


@few
@given(st.lists(st.lists(figures, min_size=12, max_size=12), min_size=2, max_size=4))
def test_mean_and_spread_are_those_of_the_last_ten(series):
    with tempfile.TemporaryDirectory() as name:
        for seed, values in enumerate(series):
            write_trial(Path(name), dataset=f"digits_LT_10.{seed}@40-100", seed=seed, series=values)
        (entry,) = cells(load([name])).values()
    each = [np.mean(values[-10:]) for values in series]
    np.testing.assert_allclose([entry.mean, entry.std], [np.mean(each), np.std(each, ddof=1)], atol=1e-9)


@few
@given(sweeps)
def test_a_copy_on_another_machine_changes_nothing(sweep):
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "here", sweep)
        expected = numbers(cells(load([Path(name) / "here"])))
        shutil.copytree(Path(name) / "here", Path(name) / "there")
        assert numbers(cells(load([name]))) == expected
