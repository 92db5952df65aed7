"""Randomness is a function of (seed, purpose, step) over the global batch."""

import numpy as np
import pytest

from cissl.training.randomness import EpochSampler, RowRandom


def draws(step=3, purpose="weak", seed=1, rows=slice(None)):
    random = RowRandom(seed, purpose, step, total=8, rows=rows)
    return np.concatenate([random.uniform(2), random.integers(5, 3)], axis=1)


def test_same_arguments_same_numbers():
    np.testing.assert_array_equal(draws(), draws())


@pytest.mark.parametrize("other", [{"step": 4}, {"purpose": "strong"}, {"seed": 2}])
def test_every_argument_matters(other):
    assert not np.array_equal(draws(), draws(**other))


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_hold_rows_of_one_table(workers):
    table = draws()
    for rank in range(workers):
        rows = slice(rank, None, workers)
        np.testing.assert_array_equal(draws(rows=rows), table[rows])


@pytest.mark.parametrize("size,batch", [(10, 4), (3, 8), (7, 7), (1, 5)])
def test_each_epoch_visits_every_index_once(size, batch):
    sampler = EpochSampler(size, seed=1, purpose="labeled")
    stream = np.concatenate([sampler.batch(step, batch) for step in range(3 * size)])
    for epoch in stream.reshape(-1, size):
        assert sorted(epoch) == list(range(size))


def test_a_sampler_asked_in_another_order_answers_the_same():
    first, second = (EpochSampler(5, seed=1, purpose="unlabeled") for _ in range(2))
    forward = [first.batch(step, 3).tolist() for step in range(6)]
    assert [second.batch(step, 3).tolist() for step in reversed(range(6))] == forward[::-1]


def test_epochs_and_seeds_differ():
    sampler = EpochSampler(50, seed=1, purpose="labeled")
    other = EpochSampler(50, seed=2, purpose="labeled")
    assert not np.array_equal(sampler.batch(0, 50), sampler.batch(1, 50))
    assert not np.array_equal(sampler.batch(0, 50), other.batch(0, 50))
