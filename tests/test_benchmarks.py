"""The benchmarks run; what they measure is no matter for a test."""

import sys
from pathlib import Path

import pytest
import torch

from cissl.algorithms.cards import find

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def options(module, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["command", "--threads", "1", "--batch", "2", "--images", "300", *words])
    return module.parse()


@pytest.mark.parametrize(
    ("algorithm", "both_ways", "forward"),
    [
        ("fixmatch", 2 + 14 + 14, 2),  # the probe of CTAugment is seen by the averaged network alone
        ("cdmad", 2 + 14 + 14, 1 + 14 + 2),
        ("fixmatch+crest", 2 + 14 + 14, 2),  # within a later stage
    ],
)
def test_a_method_is_measured_beside_fixmatch(monkeypatch, algorithm, both_ways, forward):
    import step_time

    small = ("--device", "cpu", "--filters", "4", "--repeats", "1", "--cpu-time")
    arguments = options(step_time, monkeypatch, "--algorithm", algorithm, *small)
    cost = step_time.measured_beside_fixmatch(arguments, torch.device("cpu"))
    assert (cost.both_ways, cost.forward) == (both_ways, forward)
    assert cost.passes == 3 * both_ways + forward
    assert cost.seconds > 0 and cost.fixmatch > 0 and cost.megabytes > 100


def test_what_semilearn_has_too_is_a_method_here(monkeypatch):
    import peers

    assert [find(name).name for name in peers.PEERS] == list(peers.PEERS)
    arguments = options(peers, monkeypatch, "--algorithm", "mixmatch", "--ours", "exact")
    peers.step_of_cissl(arguments)()


def test_a_peer_that_is_none_is_told(monkeypatch, capsys):
    import peers

    with pytest.raises(SystemExit):
        options(peers, monkeypatch, "--algorithm", "fixmatch,fixmacht")
    assert "'fixmacht' is none of supervised, pi_model" in capsys.readouterr().err


def test_views_of_any_size_are_measured_beside_torchvision(monkeypatch):
    import augmentation

    words = "--side 24 --images 3 --repeats 1 --threads 1 --device cpu --cpu-time".split()
    monkeypatch.setattr(sys, "argv", ["command", *words])
    rows = augmentation.measured(augmentation.parse())
    assert len(rows) == len(augmentation.NAMES) + 3
    assert [row["operation or policy"] for row in rows[-3:]] == [
        "policy: weak view",
        "policy: strong view",
        "policy: strong, RandAugment view",
    ]
    assert all(row["ours (images/s)"] > 0 and row["ours / v2"] != "–" for row in rows[-3:])
