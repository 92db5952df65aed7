"""Mixing and interleaving against loops."""

import numpy as np
import pytest
import torch

from cissl.algorithms.maths.mixing import brier, interleave, mix, ramp_up, sharpen, soft_cross_entropy


@pytest.mark.parametrize("n, B", [(2, 4), (3, 8), (3, 7), (4, 9), (4, 4), (5, 3), (3, 1)])
def test_interleaving_swaps_groups_and_undoes_itself(n, B):
    lists = [torch.arange(B) + 100 * k for k in range(n)]
    batches = interleave(lists)
    # Literally: offsets where the last groups take the remainder, then swaps with list 0.
    sizes = [B // n] * n
    for j in range(B - sum(sizes)):
        sizes[-j - 1] += 1
    starts = np.cumsum([0, *sizes])
    expected = [rows.clone() for rows in lists]
    for j in range(1, n):
        group = slice(starts[j], starts[j + 1])
        expected[0][group], expected[j][group] = lists[j][group], lists[0][group]
    for found, wanted in zip(batches, expected, strict=True):
        assert torch.equal(found, wanted)
    for found, wanted in zip(interleave(batches), lists, strict=True):
        assert torch.equal(found, wanted)


def test_every_row_has_a_share_of_its_own_and_stays_nearer_to_itself():
    rows, others = torch.ones(4, 2, 3), torch.zeros(4, 2, 3)
    mixed = mix(rows, others, torch.tensor([0.0, 0.3, 0.5, 1.0]))
    assert torch.allclose(mixed[:, 0, 0], torch.tensor([1.0, 0.7, 0.5, 1.0]))


def test_sharpening_and_losses_are_their_formulas():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4), 5)
    logits, targets = random.normal(size=(5, 4)), random.dirichlet(np.ones(4), 5)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    t = lambda values: torch.from_numpy(values)  # noqa: E731
    np.testing.assert_allclose(sharpen(t(p), 0.5), p**2 / (p**2).sum(1, keepdims=True))
    assert brier(t(logits), t(targets)).item() == pytest.approx(((targets - softmax) ** 2).sum() / 20)
    assert soft_cross_entropy(t(logits), t(targets)).item() == pytest.approx(-(targets * np.log(softmax)).sum() / 5)


def test_sharpening_at_a_low_temperature_leaves_the_largest():
    rows = torch.tensor([[0.1, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.1]])
    assert sharpen(rows, 1e-3).tolist() == [[0, 1, 0], [0, 1, 0], [0.5, 0.5, 0]]


def test_a_ramp_starts_at_nothing_and_stops_at_one():
    assert [ramp_up(number, 4) for number in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert ramp_up(0, 0) == 1
