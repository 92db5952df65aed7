"""The benchmarks run; what they measure is no matter for a test."""

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def step_time(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import step_time

    return step_time


def options(step_time, monkeypatch, *words):
    small = ("--device", "cpu", "--threads", "1", "--batch", "2", "--filters", "4", "--images", "300", "--repeats", "1")
    monkeypatch.setattr(sys, "argv", ["step_time.py", *small, *words])
    return step_time.parse()


@pytest.mark.parametrize(
    ("algorithm", "both_ways", "forward"),
    [
        ("fixmatch", 2 + 14 + 14, 2),  # the probe of CTAugment is seen by the averaged network alone
        ("cdmad", 2 + 14 + 14, 1 + 14 + 2),
        ("fixmatch+crest", 2 + 14 + 14, 2),  # within a later stage
    ],
)
def test_a_method_is_measured_beside_fixmatch(step_time, monkeypatch, algorithm, both_ways, forward):
    arguments = options(step_time, monkeypatch, "--algorithm", algorithm, "--cpu-time")
    cost = step_time.measured_beside_fixmatch(arguments, torch.device("cpu"))
    assert (cost.both_ways, cost.forward) == (both_ways, forward)
    assert cost.passes == 3 * both_ways + forward
    assert cost.seconds > 0 and cost.fixmatch > 0 and cost.megabytes > 100
