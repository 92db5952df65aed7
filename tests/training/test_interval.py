"""Figures between two evaluations: means over steps, pseudo-labels by class, against sums written out."""

import math

import pytest
import torch

from cissl.algorithms.contract import Losses, PseudoLabels
from cissl.training.interval import Interval

CPU = torch.device("cpu")


def losses(labeled, unlabeled, weights, classes, **measured):
    probabilities = torch.full((len(classes), 3), 1 / 3)
    pseudo = PseudoLabels(torch.tensor(classes), torch.tensor(weights), probabilities)
    terms = {"unlabeled": torch.tensor(unlabeled)}
    return Losses(labeled={"labeled": torch.tensor(labeled)}, unlabeled=terms, pseudo=pseudo, measured=measured)


def filled():
    interval = Interval(3, CPU)
    interval.add(losses(1.0, 2.0, [1.0, 0.0, 0.5], [0, 1, 2], gain=2.0), torch.tensor([0, 1, -1]))
    interval.add(losses(3.0, 4.0, [1.0, 1.0, 1.0], [0, 0, 2], gain=4.0), torch.tensor([0, 1, 2]))
    return interval


def test_means_and_counts():
    means, pseudo_labels, details = filled().close()
    assert means["loss"] == pytest.approx(5.0)
    assert (means["loss_labeled"], means["loss_unlabeled"]) == pytest.approx((2.0, 3.0))
    assert means["mask_ratio"] == pytest.approx((0.5 + 1) / 2)
    assert pseudo_labels == {"pseudo_kept": [3, 0, 1], "pseudo_correct": [2, 0, 1]}  # an unknown label counts nowhere
    assert details == {"terms": {"labeled": 2.0, "unlabeled": 3.0}, "measured": {"gain": 3.0}}


def test_the_next_interval_begins_at_zero():
    interval = filled()
    interval.close()
    means, pseudo_labels, details = interval.close()
    assert set(means.values()) == {0.0} and details == {}
    assert pseudo_labels == {"pseudo_kept": [0, 0, 0], "pseudo_correct": [0, 0, 0]}


def test_another_interval_continues_from_a_state():
    first = Interval(3, CPU)
    first.add(losses(1.0, 2.0, [1.0, 0.0, 0.5], [0, 1, 2], gain=2.0), torch.tensor([0, 1, -1]))
    second = Interval(3, CPU)
    second.load_state_dict(first.state_dict())
    for interval in (first, second):
        interval.add(losses(3.0, 4.0, [1.0, 1.0, 1.0], [0, 0, 2], gain=4.0), torch.tensor([0, 1, 2]))
    assert first.close() == second.close() == filled().close()


def test_a_loss_that_is_no_number_is_seen():
    interval = Interval(3, CPU)
    interval.add(losses(math.nan, 0.0, [1.0], [0]), torch.tensor([0]))
    assert math.isnan(interval.close()[0]["loss"])
