"""A learner's networks: their seeds, their dtype, what a pass changes, and what a state holds."""

import dataclasses

import pytest
import torch

from cissl import datasets
from cissl.config import TrialConfig
from cissl.training.learner import make_network, memory_format
from cissl.training.trainer import Trainer
from tests.training import short_trial

CONFIG = TrialConfig(**short_trial.settings(algorithm="cadr"))
CPU = torch.device("cpu")
SHAPE = dict(classes=10, side=8, channels=1)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def dataset():
    return datasets.load(CONFIG.dataset)


@pytest.fixture
def trainer(dataset):
    return Trainer(CONFIG, dataset, CPU)


def copies(tensors):
    return [tensor.detach().clone() for tensor in tensors]


def same(some, others):
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_the_seed_decides_the_weights():
    networks = [make_network(CONFIG, **SHAPE, seed=seed) for seed in (None, CONFIG.seed, CONFIG.seed + 1)]
    weights = [list(network.parameters()) for network in networks]
    assert same(weights[0], weights[1]) and not same(weights[0], weights[2])


def test_images_are_converted_to_the_weights_dtype(trainer):
    learner = trainer.learner
    images = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    logits = learner.predict(images)
    assert logits.shape == (5, 10) and logits.dtype == next(learner.model.parameters()).dtype != images.dtype
    assert torch.equal(logits, learner.predict(images.float()))


def test_only_a_training_pass_changes_moving_statistics(trainer):
    learner, images = trainer.learner, torch.rand(6, 1, 8, 8)
    trainer.train_step()
    learner.model.train()
    before = copies(learner.model.buffers())
    plain = learner.average_forward(images)[0]
    by_batch = learner.average_forward(images, batch_statistics=True)[0]
    learner.raw_forward(images)
    learner.model.train()
    learner.train_forward([images], update_averages=False)
    assert same(before, learner.model.buffers()) and not torch.equal(plain, by_batch)
    assert not learner.ema_model.training
    learner.train_forward([images])
    assert not same(before, learner.model.buffers())


def test_parts_of_a_training_pass_are_one_batch(trainer):
    learner, images = trainer.learner, torch.rand(6, 1, 8, 8)
    learner.model.train()
    together = learner.train_forward([images], update_averages=False)[0]
    in_parts = learner.train_forward([images[:2], images[2:]], update_averages=False)[0]
    assert torch.equal(together, in_parts)


def test_an_update_moves_weights_average_and_state(trainer):
    learner = trainer.learner
    weights, average, prior = copies(learner.model.parameters()), copies(learner.ema_model.parameters()), learner.state
    trainer.train_step()
    assert not same(weights, learner.model.parameters())
    for before, mine, raw in zip(average, learner.ema_model.parameters(), learner.model.parameters(), strict=True):
        torch.testing.assert_close(mine, before + (1 - CONFIG.ema_decay) * (raw.detach() - before), rtol=0, atol=1e-6)
    assert learner.state is not prior and learner.state.keys() == prior.keys()


def test_another_learner_continues_from_a_state(trainer, dataset):
    trainer.train_step()
    saved = {name: dict(group) for name, group in trainer.learner.state_dict().items()}
    other = Trainer(CONFIG, dataset, CPU).learner
    other.load_state_dict(trainer.learner.state_dict())
    loaded = other.state_dict()
    assert saved.keys() == loaded.keys() == {"model", "ema", "optimizer", "state"}
    for name, group in saved.items():
        assert group.keys() == loaded[name].keys() and group
        assert all(torch.equal(value, loaded[name][key]) for key, value in group.items()), name


def test_a_state_of_another_network_is_refused(trainer):
    wider = dataclasses.replace(CONFIG, filters=CONFIG.filters + 1)
    saved = Trainer(wider, datasets.load(CONFIG.dataset), CPU).learner.state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        trainer.learner.load_state_dict(saved)


def test_a_cpu_keeps_images_contiguous_unless_errors_are_larger_anyway():
    assert memory_format(CONFIG, CPU) == torch.contiguous_format
    assert memory_format(dataclasses.replace(CONFIG, precision="bf16"), CPU) == torch.channels_last
    assert memory_format(CONFIG, torch.device("cuda")) == torch.channels_last
