"""A survey's forward passes are as large as a step, and its outputs do not depend on that."""

import pytest
import torch

from cissl import datasets
from cissl.config import TrialConfig
from cissl.training.trainer import Trainer
from tests.training import short_trial


@pytest.mark.parametrize("network, method", [("average", "average_forward"), ("raw", "raw_forward")])
@pytest.mark.parametrize("augment", ["none", "weak"])
def test_a_survey_holds_as_many_images_as_a_step(network, method, augment, monkeypatch):
    config = TrialConfig(**short_trial.settings(algorithm="fixmatch"))
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    trainer.train_step()
    at_once = config.batch * (1 + 2 * config.uratio)
    sizes = []
    forward = getattr(trainer.learner, method)
    monkeypatch.setattr(trainer.learner, method, lambda images: (sizes.append(len(images)), forward(images))[1])
    found = trainer.survey().outputs(network=network, augment=augment)
    number = len(trainer.dataset.unlabeled)
    assert sum(sizes) == len(found.logits) == len(found.features) == number > 2 * at_once
    assert max(sizes) == max(at_once, 32)

    whole = trainer.survey()
    whole._at_once = number
    expected = whole.outputs(network=network, augment=augment)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.features, expected.features)
    assert max(sizes) > at_once


def test_a_surveys_random_numbers_are_its_own():
    config = TrialConfig(**short_trial.settings(algorithm="fixmatch"))
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))

    def draw():
        return trainer.survey().random("places").uniform(5).tolist()

    first = draw()
    assert draw() == first != trainer.survey().random("shares").uniform(5).tolist()
    batch = trainer._batch()
    assert trainer._step(batch, {}).random("places").uniform(5).tolist() != first
    trainer.train_step()
    assert draw() != first
