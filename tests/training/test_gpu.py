"""What a training step asks of a GPU, seen without one: tensors that have a device and a shape, but no values."""

import dataclasses

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, unset_fake_temporarily

from cissl import datasets
from cissl.algorithms.cards import find
from cissl.config import TrialConfig
from cissl.testing import device_calls
from cissl.testing.device_calls import DeviceCalls
from cissl.training.trainer import Trainer
from tests.algorithms.methods import METHODS
from tests.training import short_trial

# Device calls of each part of a step; whoever needs more says so here.
MOST_CALLS = {
    "batch": 2,
    "views": 12,
    "strong views": 196,  # of each policy; one more where three views are strong (CoSSL)
    "probe": 34,
    "optimizer": 9,
    "moving average": 1,
    "records": 14,
    "other": 8,
}
NEW_RECORDS = ("dash", "fixmatch+cossl")  # the second step of a stage records other figures than the step before
LOSSES = {
    **{"supervised": 2, "pi_model": 7, "mean_teacher": 7, "fixmatch": 17, "fixmatch+adsh": 21, "fixmatch+cai": 24},
    **{"defixmatch": 29, "cdmad": 32, "fixmatch+crest": 30, "dash": 33, "uda": 41, "softmatch": 43, "simpro": 44},
    **{"adamatch": 45, "fixmatch+crest+": 46, "mixmatch": 50, "rda": 50, "simmatch": 51, "fixmatch+saw": 51},
    **{"flexmatch": 53, "acr": 54, "comatch": 54, "adello": 57, "fixmatch+abc": 59, "boat": 67, "fixmatch+prg": 72},
    **{"exact cadr": 74, "cadr": 206, "freematch": 77, "remixmatch": 80, "cpe": 86},
}

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="pretends that there is a GPU"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer"),
]


@pytest.fixture
def pretended_gpu():
    """Inside, "cuda" is a device whose tensors have no values; reading one raises `DataDependentOutputException`."""
    with device_calls.pretended_gpu() as device:
        yield device


@pytest.mark.parametrize(
    "algorithm, augment",
    [
        ("fixmatch", "m.d.rac"),
        ("fixmatch", "rac.d.d"),
        ("cap+cai", "d.x.r2_9_50"),
        *((name, "d.d.d") for name in METHODS),
    ],
)
def test_a_step_never_waits_for_the_gpu(pretended_gpu, algorithm, augment):
    """It reads nothing back, mixes no devices, calls the device seldom, and sends little and without waiting."""
    compiled = "cap" in (card.name for card in find(algorithm).parts)  # else its eigenvalue solver waits
    trainer = protocol_trainer(pretended_gpu, algorithm=algorithm, augment=augment, compile=compiled)
    if any(part.waits for part in trainer.learner.method.parts) and not compiled:
        pytest.skip("says itself that it waits")  # DARP alone: its solver asks whether the roots are found
    trainer.train_step()  # sends the constant tables that augmentation keeps
    policies = len(set(augment.split(".")) - {"x", "m", "d"}) + augment.endswith(".d")
    bounds = MOST_CALLS | {"losses": LOSSES.get(algorithm, 206 if compiled else 90)}
    bounds["strong views"] *= policies
    bounds["records"] *= 2 if algorithm in NEW_RECORDS else 1
    for step in seconds(trainer.schedule, trainer.config.steps):
        calls = counted(trainer, step)
        assert {part: count for part, count in calls.calls.items() if count > bounds.get(part, count)} == {}
        assert calls.waiting == []
        assert [part for part, *_ in calls.sent if part != "losses"] == ["batch"]  # beside a method's own draws
        assert all(at_once for *_, at_once in calls.sent)


def test_the_exact_step_of_cap_waits_in_its_eigenvalue_solver_alone(pretended_gpu):
    trainer = protocol_trainer(pretended_gpu, algorithm="cadr")
    trainer.train_step()
    calls = counted(trainer, 1)
    assert calls.waiting == [("losses", "_linalg_eigh")]
    assert calls.calls["losses"] <= LOSSES["exact cadr"]


def protocol_trainer(device, **settings):
    """A short trial whose batches are as large as the protocol's."""
    short = short_trial.settings(**settings, batch=64, train_kimg=20 * 64 / 1024)
    own = {key: value for card in find(settings["algorithm"]).parts for key, value in card.short.items()}
    config = TrialConfig(**short | own | ({"uratio": 7} if "uratio" in short else {}))
    with unset_fake_temporarily():
        small = datasets.load(config.dataset)
        images = np.tile(small.images, (1, 4, 4, 3))  # copies of a whole batch shall be as large as the protocol's
        dataset = dataclasses.replace(small, images=images, test_images=images, mirror=True, shift=4)
    return Trainer(config, dataset, device)


def counted(trainer, step):
    """The calls of a step."""
    trainer.step, trainer._stage = step, trainer.schedule.at(step).stage
    with DeviceCalls().watching(trainer) as calls:
        trainer.train_step()
    return calls


def seconds(schedule, steps):
    """The second step of each stage that has one; the first may wait."""
    return [step for step in range(steps) if schedule.at(step).number == 1]


@pytest.mark.parametrize("algorithm", ["supervised", "fixmatch", "cadr"])
def test_an_evaluation_waits_for_the_gpu_once_and_not_for_each_batch(pretended_gpu, algorithm):
    config = TrialConfig(**short_trial.settings(algorithm=algorithm))
    with unset_fake_temporarily():
        dataset = datasets.load(config.dataset)
    trainer = Trainer(config, dataset, pretended_gpu)
    number = len(dataset.test_labels)
    assert number > 3 * trainer._evaluation_batch()
    with DeviceCalls() as calls:
        score = trainer.learner.scorer()
        predictions = trainer._predictions(score, trainer._test_images, np.arange(number))  # reading one would raise
    assert predictions.is_cuda and predictions.shape == (number,)
    assert len(calls.sent) > 3 and all(at_once for *_, at_once in calls.sent)


def test_the_backward_pass_is_counted_in_two_parts():
    config = TrialConfig(**short_trial.settings(algorithm="fixmatch", repeat=1))
    calls = device_calls.count_step(config, datasets.load(config.dataset))
    shallow, losses = calls.calls["network's backward"], calls.calls["losses' backward"]
    assert 10 < shallow < 30 and 5 < losses < 20
    deeper = device_calls.count_step(dataclasses.replace(config, repeat=2), datasets.load(config.dataset))
    assert deeper.calls["network's backward"] > shallow and deeper.calls["losses' backward"] == losses
    assert calls.outside == deeper.outside


def test_views_and_allocations_are_no_calls():
    with DeviceCalls("cpu") as calls:
        x = torch.empty(4, 4)
        x.view(16)[3:].unsqueeze(0)
        x.add_(1).T.mul(2)
    assert calls.operators == {"other": {"add_": 1, "mul": 1}}


@pytest.mark.parametrize(
    "function, operator",
    [
        (torch.linalg.eigvalsh, "_linalg_eigh"),
        (torch.linalg.eig, "linalg_eig"),
        (torch.linalg.svdvals, "_linalg_svd"),
        (torch.linalg.inv, "_linalg_check_errors"),
        (torch.linalg.cholesky, "_linalg_check_errors"),
        (lambda x: x.index_put((x > 0,), x.sum()), "index_put"),
        (torch.bincount, "bincount"),
    ],
)
def test_what_waits_inside_torch_is_noticed(function, operator):
    x = torch.ones(3, dtype=torch.int64) if operator == "bincount" else torch.eye(3)
    with DeviceCalls("cpu") as calls:
        function(x)
    assert calls.waiting == [("other", operator)]


def test_what_only_launches_does_not_wait():
    x = torch.eye(3)
    with DeviceCalls("cpu") as calls:
        torch.linalg.solve_ex(x, x), torch.linalg.qr(x), x[torch.tensor([0, 2])], torch.where(x > 0, x, 1 / x)
        torch.arange(2).repeat_interleave(torch.tensor([1, 2]), output_size=3)
    assert calls.waiting == []


def test_reading_a_value_back_is_noticed(pretended_gpu):
    with pytest.raises(DataDependentOutputException):
        torch.ones(3, device=pretended_gpu).sum().item()
    with DeviceCalls() as calls:
        torch.ones(3, 2**14).to(pretended_gpu)
    assert calls.sent == [("other", 3 * 2**16, False)]
