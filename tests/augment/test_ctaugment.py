"""CTAugment's rates, probabilities and draws: reference vectors and slow loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cissl.augment.ctaugment import BINS, CTAugment, ProbePolicy

VECTORS = dict(np.load(Path(__file__).parents[1] / "reference" / "augment_ctaugment.npz"))
SIZES = list(BINS.values())


def make(**changes):
    return CTAugment(**{"depth": 2, "threshold": 0.8, "decay": 0.99, "device": "cpu"} | changes)


def draw(cta, rng):
    """Operations and levels of some images."""
    draws = cta.draw([rng], 16)
    return draws["choice"], cta.levels(*(torch.from_numpy(draws[name]) for name in ("choice", "uniform")))


def sequential_update(rates, decay, ops, levels, proximity):
    """The definition, one bin after the other; an operation of -1 is none."""
    for row_ops, row_levels, p in zip(ops, levels, proximity, strict=True):
        for op, level in zip(row_ops, row_levels, strict=True):
            for argument, bins in enumerate(SIZES[op] if op >= 0 else ()):
                place = int(level[argument] * bins * 0.999)
                rates[op, argument, place] = rates[op, argument, place] * decay + p * (1 - decay)


def random_rates(generator):
    return torch.from_numpy(generator.random((19, 2, 17), dtype=np.float32))


def test_rates_follow_the_reference():
    """Its policies in batches of up to 13, with extreme levels and repeated operations."""
    cta, done = make(), 0
    for number, stop in enumerate(VECTORS["checkpoints"]):
        while done < stop:
            rows = slice(done, min(done + 13, stop))
            # Where a policy has one operation, identity, which has no bins, stands for the other.
            ops = VECTORS["sequence_ops"][rows].astype(np.int64)
            ops[ops < 0] = list(BINS).index("identity")
            policy = ProbePolicy(torch.from_numpy(ops), torch.from_numpy(VECTORS["sequence_levels"][rows]))
            cta.update(policy, torch.from_numpy(VECTORS["sequence_proximity"][rows]))
            done = rows.stop
        q = cta.probabilities()
        for name, result in (("rates", cta.rates), ("probs", q), ("sampling", q / q.sum(2, keepdim=True))):
            expected = VECTORS[name][number]
            there = ~np.isnan(expected)
            np.testing.assert_allclose(result.numpy()[there], expected[there], atol=2e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    depth=st.integers(1, 4),
    decay=st.sampled_from([0.5, 0.99]),
)
def test_update_equals_the_loop(seed, n, depth, decay):
    generator = np.random.default_rng(seed)
    few = generator.integers(1, 20)  # few operations: many uses of the same bin
    ops, levels = generator.integers(0, few, (n, depth)), generator.random((n, depth, 2)).round(1)
    proximity = generator.random(n)
    cta = make(depth=depth, decay=decay)
    cta.rates = random_rates(generator)
    expected = cta.rates.double().numpy()
    sequential_update(expected, decay, ops, levels, proximity)
    cta.update(ProbePolicy(torch.from_numpy(ops), torch.from_numpy(levels)), torch.from_numpy(proximity))
    np.testing.assert_allclose(cta.rates, expected, atol=1e-7, rtol=0)
    assert cta.rates.dtype == torch.float32


def test_update_goes_through_the_rows_in_order():
    rotate = list(BINS).index("rotate")
    cta = make()
    policy = ProbePolicy(torch.full((2, 2), rotate), torch.full((2, 2, 2), 0.5, dtype=torch.float64))
    cta.update(policy, torch.tensor([1.0, 0.0]))
    assert cta.rates[rotate, 0, 8].item() == pytest.approx(0.99**4 + 0.01 * (0.99**3 + 0.99**2))


def test_a_proximity_of_nan_stays_in_its_own_bins():
    cta = make(depth=1)
    policy = ProbePolicy(torch.tensor([[0], [1]]), torch.zeros(2, 1, 2, dtype=torch.float64))
    cta.update(policy, torch.tensor([float("nan"), 0.5]))
    assert cta.rates.isnan().sum() == 1 and cta.rates[0, 0, 0].isnan()


def test_bins_drawn_by_inverting_the_cumulative_sum(rows):
    """Against numpy's choice(p=...), which searches the normalised float64 cumulative sum from the right."""
    generator, n = np.random.default_rng(1), 400
    cta = make(depth=3, threshold=0.3)
    cta.rates = random_rates(generator)
    choice, levels = draw(cta, rows(5, n))
    again = rows(5, n)
    assert (choice == again.integers(19, 3)).all()
    uniform = again.uniform(3, 2, 2)
    p = cta.probabilities().numpy()
    for i in range(n):
        for slot in range(3):
            for argument, bins in enumerate(SIZES[choice[i, slot]]):
                q = p[choice[i, slot], argument, :bins]
                cumulative = (q / q.sum()).astype(np.float64).cumsum()
                drawn, offset = uniform[i, slot, argument]
                place = np.searchsorted(cumulative / cumulative[-1], drawn, side="right")
                expected = (place + offset) / bins
                assert levels[i, slot, argument].item() == pytest.approx(expected, abs=1e-15)
                assert int(expected * bins * 0.999) in (place, place - 1)
                assert q[place] > 0


def test_draws_follow_the_probabilities(rows):
    cta = make(depth=1)
    rotate = list(BINS).index("rotate")
    cta.rates[rotate, 0] = torch.linspace(0.6, 1.0, 17)
    choice, levels = draw(cta, rows(2, 200_000))
    counts = np.bincount(choice[:, 0], minlength=19)
    np.testing.assert_allclose(counts / len(choice), 1 / 19, atol=0.003)
    bins = np.floor(levels[:, 0, 0].numpy()[choice[:, 0] == rotate] * 17).astype(int)
    q = np.where(np.linspace(0.6, 1, 17) + 0.01 >= 0.8 * 1.01, np.linspace(0.6, 1, 17) + 0.01, 0)
    np.testing.assert_allclose(np.bincount(bins, minlength=17) / len(bins), q / q.sum(), atol=0.012)
    assert (np.bincount(bins, minlength=17)[q == 0] == 0).all()


def test_levels_of_fresh_rates_are_uniform(rows):
    choice, levels = draw(make(), rows(3, 50_000))
    for name in ("rotate", "posterize", "rescale"):
        used = levels[torch.from_numpy(choice == list(BINS).index(name))].numpy()
        for argument, _ in enumerate(BINS[name]):
            quantiles = np.quantile(used[:, argument], [0.1, 0.5, 0.9])
            np.testing.assert_allclose(quantiles, [0.1, 0.5, 0.9], atol=0.025)
    assert levels.min() >= 0 and levels.max() < 1


def test_probe_levels_are_uniform_whatever_the_rates(rows):
    cta = make()
    cta.rates[:, :, 3:] = 0.0
    draws = cta.draw([rows(0, 10)], 16, rows(4, 20_000))
    assert draws["choice"].shape == (20_010, 2) and draws["choice"].dtype == np.int64
    assert draws["levels"].shape == (20_000, 2, 2) and draws["levels"].dtype == np.float64
    np.testing.assert_allclose(np.quantile(draws["levels"], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.01)
