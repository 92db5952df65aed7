"""The training loop: when it evaluates, what an evaluation reads, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.config import TrialConfig
from cissl.training import metrics
from cissl.training.trainer import Trainer, TrialDiverged
from tests.training import short_trial


def kimg(steps):
    return steps * short_trial.SETTINGS["batch"] / 1024


CONFIG = TrialConfig(**short_trial.settings(train_kimg=kimg(5), report_kimg=kimg(2)))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset():
    return datasets.load(CONFIG.dataset)


def trainer(dataset, **changes):
    return Trainer(dataclasses.replace(CONFIG, **changes), dataset, torch.device("cpu"))


def test_it_evaluates_when_due_and_at_the_end(dataset):
    figures = list(trainer(dataset).run())
    assert [found and found["step"] for found in figures] == [None, 2, None, 4, 5]


def test_the_figures_are_those_of_the_networks_predictions(dataset):
    one = trainer(dataset)
    (*_, last) = one.run()
    images = torch.from_numpy(np.array(dataset.test_images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    predictions = torch.cat([one.learner.predict(part).argmax(1) for part in images.split(100)]).numpy()
    assert last["accuracy"] == pytest.approx(100 * np.mean(predictions == dataset.test_labels))
    assert one.confusion.sum() == len(dataset.test_labels) and last["gmean"] == metrics.geometric_mean(one.confusion)
    counts = np.bincount(dataset.test_labels, minlength=10)
    np.testing.assert_array_equal(one.confusion.sum(1), counts)


def test_an_evaluation_changes_nothing_of_the_training(dataset):
    often, once = trainer(dataset, report_kimg=kimg(1)), trainer(dataset, report_kimg=kimg(5))
    list(often.run()), list(once.run())
    state, other = often.learner.state_dict(), once.learner.state_dict()
    for group in state:
        assert all(torch.equal(value, other[group][name]) for name, value in state[group].items()), group


def test_another_trainer_continues_from_a_state(dataset):
    whole, first, second = (trainer(dataset) for _ in range(3))
    rows = [figures for figures in whole.run() if figures]
    for _ in range(3):
        first.train_step()
    second.load_state_dict(first.state_dict())
    first.train_step()  # this must not disturb the other one
    assert [figures["step"] for figures in second.run() if figures] == [4, 5]
    assert second.evaluate()["accuracy"] == rows[-1]["accuracy"]


def test_a_loss_that_is_no_number_ends_the_training(dataset):
    with pytest.raises(TrialDiverged, match=r"the loss became (nan|inf) before step \d"):
        list(trainer(dataset, lr=1e30).run())
