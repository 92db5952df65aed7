"""Which trials end at a rung: those that are not among the best 1/η of the trials that were there before."""

import pytest

from cissl.tuning.halving import Halving, rungs


def test_rungs_are_fractions_below_the_whole():
    assert rungs(0.1, 3) == pytest.approx([0.1, 0.3, 0.9])
    assert rungs(0.25, 2) == [0.25, 0.5]
    assert rungs(1.0, 3) == []


@pytest.mark.parametrize("value, behind", [(10.0, True), (59.0, True), (60.0, False), (90.0, False)])
def test_one_of_three_continues(value, behind):
    halving = Halving([0.5], 3)
    for number, reached in enumerate((30.0, 45.0, 60.0, 67.5)):  # two thirds of the way from first to last: 60
        halving.falls_behind("same", f"other {number}", 0.5, reached)
    assert halving.falls_behind("same", "trial", 0.5, value) is behind


def test_the_first_trial_at_a_rung_continues():
    halving = Halving([0.5], 2)
    assert not halving.falls_behind("same", "first", 0.5, 1.0)
    assert halving.falls_behind("same", "second", 0.5, 0.5)


def test_trials_of_other_groups_and_at_other_rungs_do_not_count():
    halving = Halving([0.25, 0.5], 2)
    halving.falls_behind("same", "strong", 0.5, 99.0)
    assert not halving.falls_behind("other", "weak", 0.5, 1.0)
    assert not halving.falls_behind("same", "weak", 0.25, 1.0)
    assert halving.falls_behind("same", "weak", 0.5, 2.0)


def test_a_rung_counts_the_first_evaluation_alone():
    halving = Halving([0.25, 0.5], 2)
    assert not halving.falls_behind("same", "strong", 0.25, 50.0)
    assert not halving.falls_behind("same", "weak", 0.1, 1.0)  # before the rung
    assert halving.falls_behind("same", "weak", 0.3, 1.0)
    assert not halving.falls_behind("same", "weak", 0.4, 0.0)  # judged there already


def test_nothing_ends_without_a_figure_or_at_its_end():
    halving = Halving([0.5], 2)
    halving.falls_behind("same", "strong", 0.5, 50.0)
    assert not halving.falls_behind("same", "blank", 0.5, None)
    assert not halving.falls_behind("same", "complete", 1.0, 1.0)
