"""Class shares of unlabeled images by a trained network."""

import numpy as np
import pytest
import torch

from cissl import datasets, estimate
from cissl.algorithms.darp.class_distribution import confusions, estimated_counts
from cissl.config import TrialConfig
from cissl.training.trial import run_trial

KIMG = 16 / 1024


def softmax(rows):
    e = np.exp(rows - rows.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_equals_literal_loops():
    random = np.random.default_rng(0)
    C, labels = 4, np.array([0, 1, 2, 3, 3, 2, 0, 0])
    P, V = softmax(2 * random.normal(size=(8, C)) + 3 * np.eye(C)[labels]), softmax(random.normal(size=(11, C)))
    K = np.zeros((C, C))
    for i, j in enumerate(labels):
        K[:, j] += P[i] / np.count_nonzero(labels == j)
    found = confusions(torch.tensor(P), torch.tensor(labels))
    np.testing.assert_allclose(found, K, rtol=1e-12)
    q = estimated_counts(found, torch.tensor(V))
    np.testing.assert_allclose(K @ q.numpy(), sum(V), rtol=1e-9)
    assert q.sum().item() == pytest.approx(11)


def test_known_confusions_are_undone():
    """Half of the images of class 1 look like class 0: the counts come out right all the same."""
    validation = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    K = confusions(validation, torch.tensor([0, 1, 1]))
    unlabeled = torch.tensor([[1.0, 0.0]] * 70 + [[0.0, 1.0]] * 30)
    assert estimated_counts(K, unlabeled).tolist() == pytest.approx([40, 60])


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Supervised on digits: 200 steps, enough for confusions that can be inverted."""
    folder = tmp_path_factory.mktemp("trial")
    config = TrialConfig(
        dataset="digits_HELDOUT.1@200-400",
        algorithm="supervised",
        filters=8,
        repeat=1,
        scales=2,
        batch=16,
        lr=0.05,
        bn_decay=0.9,
        ema_decay=0.9,
        train_kimg=200 * KIMG,
        report_kimg=200 * KIMG,
        augment="x.x.x",
    )
    run_trial(config, folder, device="cpu")
    return config, folder


def test_the_command_gives_a_setting(trial, capsys):
    config, folder = trial
    assert estimate.main([str(folder)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("darp.shares: ")
    shares = [float(share) for share in line.removeprefix("darp.shares: ").split(",")]
    dataset = datasets.load(config.dataset)
    truth = np.bincount(dataset.labels[dataset.unlabeled], minlength=10) / len(dataset.unlabeled)
    np.testing.assert_allclose(shares, truth, atol=0.05)
    TrialConfig(algorithm="fixmatch+darp", **{"darp.shares": line.removeprefix("darp.shares: ")})


def test_an_estimate_of_no_use_is_told(trial, capsys, monkeypatch):
    monkeypatch.setattr(estimate, "LARGEST_CONDITION", 1.0)
    assert estimate.main([str(trial[1])]) == 1
    assert "cannot be used" in capsys.readouterr().err


def test_mistakes_are_explained(trial, tmp_path, capsys):
    assert estimate.main([str(tmp_path)]) == 2
    assert "not the folder of a trial: config.json is missing" in capsys.readouterr().err
    config = TrialConfig(**{**trial[0].to_dict(), "dataset": "digits_HELDOUT.1@200-3", "train_kimg": KIMG})
    run_trial(config, tmp_path / "few", device="cpu")
    assert estimate.main([str(tmp_path / "few")]) == 2
    assert "has no validation image" in capsys.readouterr().err
