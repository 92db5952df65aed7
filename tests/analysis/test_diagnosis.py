"""True labels of unlabeled images serve the figures alone: training must not depend on them."""

import dataclasses

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.analysis.figures import draw
from cissl.analysis.history import VECTORS
from cissl.analysis.results import load
from cissl.config import TrialConfig
from cissl.datasets import prepare
from cissl.training.trainer import Trainer
from cissl.training.trial import run_trial

DIAGNOSIS = ("pseudo_kept", "pseudo_correct")


def train(dataset, algorithm):
    config = TrialConfig(
        dataset=str(dataset.spec), algorithm=algorithm, filters=2, repeat=1, scales=1, batch=8, uratio=2,
        train_kimg=4 * 8 / 1024, report_kimg=2 * 8 / 1024, confidence=0.1,
    )  # fmt: skip
    trainer = Trainer(config, dataset, torch.device("cpu"))
    rows = [row for row in trainer.run() if row]
    return trainer.learner.model.state_dict(), [{k: v for k, v in row.items() if k not in DIAGNOSIS} for row in rows]


@pytest.mark.parametrize("algorithm", ["fixmatch", "cadr"])
def test_labels_of_unlabeled_images_never_reach_training(algorithm):
    dataset = datasets.load("digits_LT_10.1@10-50")
    free = np.setdiff1d(dataset.unlabeled, np.concatenate([dataset.labeled, dataset.valid]))
    wrong = dataset.labels.copy()
    wrong[free] = (wrong[free] + 1 + np.arange(len(free)) % 9) % 10
    weights, rows = train(dataset, algorithm)
    others, other_rows = train(dataclasses.replace(dataset, labels=wrong), algorithm)
    assert rows == other_rows and rows[-1]["mask_ratio"] > 0
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_of_images_without_labels_no_figure_shows_a_truth(tmp_path):
    """From an import with ``unlabeled_images`` to the figures: known are the 60 training images alone."""
    digits = datasets.load("digits_LT_10.1@10-50")
    images, labels = digits.images, digits.labels
    chosen = np.concatenate([np.flatnonzero(labels == k)[:6] for k in range(10)])
    np.savez(
        tmp_path / "own.npz",
        train_images=images[chosen],
        train_labels=labels[chosen],
        unlabeled_images=np.delete(images, chosen, 0)[:240],
        test_images=digits.test_images,
        test_labels=digits.test_labels,
    )
    prepare.import_images("own", tmp_path / "own.npz", tmp_path / "data")
    config = TrialConfig(
        dataset="own.1@30-20", algorithm="fixmatch", filters=2, repeat=1, scales=1, batch=8, uratio=2,
        train_kimg=4 * 8 / 1024, report_kimg=2 * 8 / 1024, confidence=0.1,
    )  # fmt: skip
    run_trial(config, tmp_path / "trial", data_dir=tmp_path / "data", device="cpu")
    (trial,) = load([tmp_path / "trial"], vectors=VECTORS).trials
    facts = trial.provenance
    assert 30 <= sum(facts["unlabeled_counts"]) <= 60 < facts["unlabeled_size"]
    assert 0 < facts["unlabeled_labeled"] <= 30
    (axis,) = draw("prior", {"FixMatch": [trial]}, "").axes
    assert not any(line.get_label() == "truth" for line in axis.lines)
    heading = draw("pseudo-labels", {"FixMatch": [trial]}, "").get_suptitle().replace("\n", " ")
    assert f"the class of {sum(facts['unlabeled_counts'])} of {facts['unlabeled_size']} unlabeled images" in heading
