"""True labels of unlabeled images serve the figures alone: training must not depend on them."""

import dataclasses

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.config import TrialConfig
from cissl.training.trainer import Trainer

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
