"""What a training step asks of a GPU, seen without one: tensors that have a device and a shape, but no values."""

import dataclasses

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from cissl import datasets
from cissl.algorithms.cards import find
from cissl.algorithms.darp.method import DARP
from cissl.augment import autoaugment, ops, randaugment
from cissl.config import TrialConfig
from cissl.models import backbones
from cissl.training.learner import Learner
from cissl.training.trainer import Trainer
from tests.algorithms.methods import METHODS
from tests.training import short_trial

STAGED = 2**16  # bytes: a copy from ordinary memory that is larger waits for the GPU's work so far
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.to.dtype_layout)  # the latter in inference mode

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="pretends that there is a GPU"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer"),
]


class Copies(TorchDispatchMode):
    """Notes every copy from the host's memory to the GPU: bytes, and whether the host goes on at once."""

    def __init__(self):
        super().__init__()
        self.seen: list[tuple[int, bool]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in COPIES and args[0].device.type == "cpu" and result.is_cuda:
            self.seen.append((args[0].nbytes, bool((kwargs or {}).get("non_blocking"))))
        return result


@pytest.fixture
def pretended_gpu(monkeypatch):
    """Inside, "cuda" is a device whose tensors have no values; reading one raises `DataDependentOutputException`."""
    build, networks = backbones.build, []

    def build_there(*args, **kwargs):
        with unset_fake_temporarily():
            network = build(*args, **kwargs)
        network = network.to("cuda", memory_format=torch.channels_last)
        network.to = lambda *_, **__: network  # it is there already, and valueless weights cannot be converted again
        networks.append(network)
        return network

    def make_heads(learner, stage=0):  # as the network: made outside, for valueless weights cannot be converted
        with unset_fake_temporarily():
            heads = learner.method.heads(learner.facts.width, learner.facts.classes)
        return {name: head.to("cuda") for name, head in heads.items()}

    def backward(loss):  # torch's own asks for the real device
        for parameter in networks[-1].parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(backbones, "build", build_there)
    monkeypatch.setattr(Learner, "make_heads", make_heads)
    monkeypatch.setattr(DARP, "_check", lambda self, facts: None)  # before training, when waiting costs nothing
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda")
    for cached in (*vars(ops).values(), *vars(randaugment).values(), *vars(autoaugment).values()):
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.mark.parametrize(
    "algorithm, augment",
    [("fixmatch", "m.d.rac"), ("cap+cai", "d.x.r2_9_50"), *((name, "d.d.d") for name in METHODS)],
)
def test_a_step_never_waits_for_the_gpu(pretended_gpu, algorithm, augment):
    """It reads nothing back, mixes no devices, and all that it sends is small and sent without waiting."""
    short = short_trial.settings(algorithm=algorithm, augment=augment, batch=64)
    own = {key: value for card in find(algorithm).parts for key, value in card.short.items()}
    config = TrialConfig(**short | own | ({"uratio": 7} if "uratio" in short else {}))
    with unset_fake_temporarily():
        small = datasets.load(config.dataset)
        images = np.tile(small.images, (1, 4, 4, 3))  # copies of a whole batch shall be as large as the protocol's
        dataset = dataclasses.replace(small, images=images, test_images=images, mirror=True, shift=4)
    trainer = Trainer(config, dataset, pretended_gpu)
    if any(part.waits for part in trainer.learner.method.parts) and algorithm != "cadr":  # its wait is inside torch
        pytest.skip("says itself that it waits")
    trainer.train_step()  # sends the constant tables that augmentation keeps
    while trainer.schedule.at(trainer.step).number == 0:  # the first step of a stage may wait
        trainer.train_step()
    with Copies() as copies:
        trainer.train_step()
    assert copies.seen
    assert max(size for size, _ in copies.seen) <= STAGED
    assert all(at_once for _, at_once in copies.seen)


@pytest.mark.parametrize("algorithm", ["supervised", "fixmatch", "cadr"])
def test_an_evaluation_waits_for_the_gpu_once_and_not_for_each_batch(pretended_gpu, algorithm):
    config = TrialConfig(**short_trial.settings(algorithm=algorithm))
    with unset_fake_temporarily():
        dataset = datasets.load(config.dataset)
    trainer = Trainer(config, dataset, pretended_gpu)
    number = len(dataset.test_labels)
    assert number > 3 * trainer._evaluation_batch()
    with Copies() as copies:
        score = trainer.learner.scorer()
        predictions = trainer._predictions(score, trainer._test_images, np.arange(number))  # reading one would raise
    assert predictions.is_cuda and predictions.shape == (number,)
    assert len(copies.seen) > 3 and all(size <= STAGED and at_once for size, at_once in copies.seen)


def test_reading_a_value_back_is_noticed(pretended_gpu):
    with pytest.raises(DataDependentOutputException):
        torch.ones(3, device=pretended_gpu).sum().item()
    with Copies() as copies:
        torch.ones(3, 2**14).to(pretended_gpu)
    assert copies.seen == [(3 * 2**16, False)]
