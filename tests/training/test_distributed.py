"""Several workers train what one trains: same batches, losses, class prior, rates and weights, up to float noise."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training import distributed, records
from cissl.training.checkpoint import load_newest_checkpoint
from cissl.training.trial import run_trial
from tests.training.short_trial import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(tmp_path, workers, **settings):
    """Run the workers to the end and return every worker's state and losses."""
    result = tmp_path / f"result-{workers}"
    arguments = [str(workers), str(tmp_path / f"rendezvous-{workers}"), str(result), json.dumps(SETTINGS | settings)]
    command = [sys.executable, "-m", "tests.training.distributed_worker"]
    processes = [subprocess.Popen([*command, str(rank), *arguments], cwd=ROOT) for rank in range(workers)]
    assert [process.wait(timeout=200) for process in processes] == [0] * workers
    return [torch.load(f"{result}.{rank}", weights_only=True) for rank in range(workers)]


def assert_close(state, other):
    for key, value in state.items():
        if isinstance(value, dict):
            assert_close(value, other[key])
        elif isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other[key], rtol=1e-3, atol=2e-4, msg=lambda text: f"{key}: {text}")  # noqa: B023


@pytest.mark.slow
@pytest.mark.parametrize("algorithm, numbers", [("supervised", [2]), ("cadr", [2, 4])])
def test_several_workers_equal_one(tmp_path, algorithm, numbers):
    (alone,) = train(tmp_path, 1, algorithm=algorithm)
    for workers in numbers:
        together = train(tmp_path, workers, algorithm=algorithm)
        for worker in together:
            assert worker["losses"] == pytest.approx(alone["losses"], abs=2e-4)
            assert_close(alone["state"]["learner"], worker["state"]["learner"])
            assert_close(alone["state"]["augmentation"], worker["state"]["augmentation"])


@pytest.mark.slow
def test_without_joint_batchnorm_workers_still_agree_with_each_other(tmp_path):
    """Each normalises its own share, which is another calculation than one worker's, but there is one model."""
    (alone,) = train(tmp_path, 1, algorithm="cadr", sync_bn=False)
    first, second = train(tmp_path, 2, algorithm="cadr", sync_bn=False)
    assert first["losses"] == pytest.approx(second["losses"], abs=1e-6)
    assert first["losses"] != pytest.approx(alone["losses"], abs=1e-2)
    assert_close(first["state"]["learner"], second["state"]["learner"])
    for name, value in first["state"]["learner"]["model"].items():
        if "running" in name:
            assert torch.equal(value, second["state"]["learner"]["model"][name]), name


@pytest.mark.slow
def test_a_trial_may_go_on_with_another_number_of_workers(tmp_path, one_thread):
    """One worker to step 7, two to step 14, one to the end."""
    config = TrialConfig.from_mapping(
        SETTINGS | {"algorithm": "cadr", "save_kimg": 3 * 8 / 1024, "keep_training_state": True}
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

    alone, changing = (records.read_history(tmp_path / name) for name in ("alone", "changing"))
    assert [row["step"] for row in changing] == list(range(1, 21))
    assert [row["loss"] for row in changing] == pytest.approx([row["loss"] for row in alone], abs=2e-4)
    states = [load_newest_checkpoint(tmp_path / name / "checkpoints") for name in ("alone", "changing")]
    for part in ("learner", "augmentation"):
        assert_close(*(state["trainer"][part] for state in states))


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
