"""The benchmarks run; what they measure is no matter for a test."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from cissl.algorithms.cards import find
from cissl.testing.conformance import one_thread

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


def threads(number):
    """As `several_trials.processes`, at less cost."""
    import several_trials

    return ThreadPoolExecutor(number, initializer=several_trials.meet_at, initargs=(threading.Barrier(number),))


def test_trials_train_on_one_device_at_the_same_time(monkeypatch):
    import several_trials

    small = ("--device", "cpu", "--filters", "4", "--repeats", "2", "--seconds", "0.01", "--algorithm", "fixmatch")
    arguments = options(several_trials, monkeypatch, *small)
    with one_thread():
        shares = several_trials.together(threads(2), 2, arguments)
    assert [len(share.speeds) for share in shares] == [2, 2]
    assert all(speed > 0 for share in shares for speed in share.speeds)
    assert all(share.megabytes > 100 and share.device_megabytes is None for share in shares)


def test_the_figures_of_several_trials_are_of_windows_that_they_share():
    from several_trials import Share, row

    shares = [Share([10, 30, 20], 100, 900), Share([30, 20, 40], 120, 905)]
    found = row(shares, one=25)
    assert (found["trials"], found["images/s in all"], found["× one"]) == (2, 50, 2)
    assert found["slowest"] == 0.5  # of 10/30, 20/30 and 20/40
    assert (found["MB each"], found["MB of the device"]) == (120, 905)


def test_a_trial_that_fails_ends_the_others_and_says_why(monkeypatch):
    import several_trials

    def failing(trainer):
        raise torch.OutOfMemoryError("no room for a second trial")

    arguments = options(several_trials, monkeypatch, "--device", "cpu", "--filters", "4", "--algorithm", "fixmatch")
    monkeypatch.setattr(several_trials.Trainer, "train_step", failing)
    with pytest.raises(torch.OutOfMemoryError, match="second trial"), one_thread():
        several_trials.together(threads(2), 2, arguments)
