"""Several workers train what one trains: same batches, losses, class prior, rates and weights.

All is trained in float64, where that is exact: a fault cannot hide behind rounding, nor rounding look like a fault.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cissl import datasets
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training import distributed, records
from cissl.training.checkpoint import load_newest_checkpoint
from cissl.training.trainer import Trainer
from cissl.training.trial import run_trial
from tests.training import short_trial

ROOT = Path(__file__).parents[2]


def train(tmp_path, workers, **settings):
    """Run the workers to the end and return what every one learned, and its history."""
    result = tmp_path / f"result-{workers}"
    arguments = [
        str(workers),
        str(tmp_path / f"rendezvous-{workers}"),
        str(result),
        json.dumps(short_trial.settings(**settings)),
    ]
    command = [sys.executable, "-m", "tests.training.distributed_worker"]
    processes = [subprocess.Popen([*command, str(rank), *arguments], cwd=ROOT) for rank in range(workers)]
    assert [process.wait(timeout=200) for process in processes] == [0] * workers
    return [torch.load(f"{result}.{rank}", weights_only=True) for rank in range(workers)]


def assert_same(found, expected):
    """Equal in every tensor and number of these nested dicts and lists."""
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


PARTS = {
    "CADR": {"algorithm": "cap+cai"},
    "CAI": {"algorithm": "cap+cadr"},
    "CAP": {"algorithm": "cai"},
    "unlabeled loss": {"wu": 0.0},
    "weight decay": {"wd": 0.0},
    "averaged weights": {"ema_decay": 0.0},
    "labeled view": {"augment": "x.d.d"},
    "weak view": {"augment": "d.x.d"},
    "strong view": {"augment": "d.d.x"},
    "rates": {"adecay": 1.0},
}


@pytest.mark.parametrize("part", PARTS)
def test_the_short_trial_uses_every_part_of_a_step(part, double_precision):
    """Were one of no effect in it, the tests below could not see that several workers do without it or do it twice."""
    whole, without = history(algorithm="cadr"), history(**{"algorithm": "cadr"} | PARTS[part])
    differences = [abs(a[key] - b[key]) for a, b in zip(whole, without, strict=True) for key in ("loss", "accuracy")]
    assert max(differences) > 1e-3


def test_the_short_trial_keeps_some_pseudo_labels_and_drops_others(double_precision):
    kept = [row["mask_ratio"] for row in history(algorithm="cadr")]
    assert sum(0.2 < share < 0.9 for share in kept) >= 5


def history(**settings):
    config = TrialConfig(**short_trial.settings(**settings))
    return [row for row in Trainer(config, datasets.load(config.dataset), torch.device("cpu")).run() if row]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm, numbers", [("supervised", [2]), ("cadr", [2, 4])])
def test_several_workers_equal_one(tmp_path, algorithm, numbers):
    (alone,) = train(tmp_path, 1, algorithm=algorithm)
    assert alone["learner"]["model"]["dense.weight"].dtype == torch.float64
    for workers in numbers:
        for worker in train(tmp_path, workers, algorithm=algorithm):
            assert_same(worker, alone)


@pytest.mark.slow
def test_without_joint_batchnorm_workers_still_agree_with_each_other(tmp_path):
    """Each normalises its own share, which is another calculation than one worker's, but there is one model."""
    (alone,) = train(tmp_path, 1, algorithm="cadr", sync_bn=False)
    first, second = train(tmp_path, 2, algorithm="cadr", sync_bn=False)
    assert_same(second, first)
    assert losses(first["history"]) != pytest.approx(losses(alone["history"]), abs=1e-2)
    for name, value in first["learner"]["model"].items():
        if "running" in name:
            assert torch.equal(value, second["learner"]["model"][name]), name


@pytest.mark.slow
def test_a_trial_may_go_on_with_another_number_of_workers(tmp_path, one_thread, double_precision):
    """One worker to step 7, two to step 14, one to the end."""
    config = TrialConfig.from_mapping(
        short_trial.SETTINGS | {"algorithm": "cadr", "save_kimg": 3 * 8 / 1024, "keep_training_state": True}
    )
    run_trial(config, tmp_path / "alone", device="cpu")

    folder = tmp_path / "changing"
    with pytest.raises(KeyboardInterrupt):
        run_trial(config, folder, device="cpu", on_evaluation=interrupting)
    arguments = ["2", str(tmp_path / "rendezvous"), str(folder), json.dumps(config.to_dict()), "14"]
    command = [sys.executable, "-m", "tests.training.trial_worker"]
    processes = [subprocess.Popen([*command, str(rank), *arguments], cwd=ROOT) for rank in range(2)]
    assert processes[0].wait(timeout=200) == -signal.SIGKILL
    assert processes[1].wait(timeout=200) != 0  # without the other it cannot go on
    assert records.read_status(folder)["step"] == 14
    run_trial(config, folder, device="cpu")

    alone, changing = (
        [{key: value for key, value in row.items() if key != "seconds"} for row in records.read_history(folder)]
        for folder in (tmp_path / "alone", folder)
    )
    assert [row["step"] for row in changing] == list(range(1, 21))
    assert_same(changing, alone)
    states = [load_newest_checkpoint(tmp_path / name / "checkpoints") for name in ("alone", "changing")]
    for part in ("learner", "augmentation"):
        assert_same(*(state["trainer"][part] for state in states))


def losses(history):
    return [row["loss"] for row in history]


def interrupting(row):
    if row["step"] == 7:
        raise KeyboardInterrupt


def test_an_uneven_batch_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="63 or 66"):
        distributed.check_division(64)
    distributed.check_division(63)


def test_alone_every_collective_is_the_identity():
    rows = torch.arange(6.0).reshape(3, 2)
    assert distributed.gather_rows(rows) is rows
    assert torch.equal(distributed.sum_over_workers(rows.clone()), rows)
    assert distributed.own_rows() == slice(0, None, 1)
