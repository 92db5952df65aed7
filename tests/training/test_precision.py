"""Faster arithmetic: how far `precision` and `compile` may stray from the exact trial, and when they are refused."""

import copy
import shutil

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.models.backbones import build
from cissl.models.names import ARCHS
from cissl.testing import make_facts
from cissl.training import learner
from cissl.training.learner import CXX, Learner
from cissl.training.trainer import Trainer
from tests.training import short_trial

# Every prediction of ten classes passes this threshold, so that rounding cannot make the difference.
SETTINGS = short_trial.SETTINGS | dict(algorithm="cadr", confidence=0.05)
# The learner itself refuses to compile there, which has a test below.
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, CXX)), reason="needs a C++ compiler")


def make_trainer(**settings):
    config = TrialConfig(**{**SETTINGS, **settings})
    return Trainer(config, datasets.load(config.dataset), torch.device("cpu"))


def gradient(trainer):
    return torch.cat([parameter.grad.flatten() for parameter in trainer.learner.model.parameters()])


@pytest.mark.parametrize(
    "settings, least, most",
    [
        pytest.param({"precision": "bf16"}, 1e-2, 1e-1),
        pytest.param({"compile": True}, 1e-9, 1e-4, marks=[needs_compiler, pytest.mark.slow]),
        pytest.param({"precision": "bf16", "compile": True}, 1e-2, 1e-1, marks=[needs_compiler, pytest.mark.slow]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_step_stays_close_to_the_exact_one(settings, least, most, one_thread):
    """bf16 keeps 8 bits; the compiler only adds in another order. Each step starts from the exact trial's state: over
    many, any rounding grows. The median, for one rounding may turn a pseudo-label or the slope of a leaky ReLU."""
    exact, other = make_trainer(), make_trainer(**settings)
    losses, gradients = [], []
    for _ in range(20):
        other.load_state_dict(copy.deepcopy(exact.state_dict()))
        row, other_row = next(exact.run()), next(other.run())
        assert row["mask_ratio"] == other_row["mask_ratio"] == 1
        losses.append(abs(row["loss"] - other_row["loss"]))
        gradients.append(((gradient(exact) - gradient(other)).norm() / gradient(exact).norm()).item())
    assert least < np.median(gradients) < most  # at least: the setting has reached the network
    assert np.median(losses) < most / 10


def test_a_bf16_trial_resumes_exactly(one_thread):
    trainer, other = make_trainer(precision="bf16"), make_trainer(precision="bf16")
    rows = [row for row in trainer.run() if row]
    for _ in range(7):
        other.train_step()
        other.evaluate()
    resumed = make_trainer(precision="bf16")
    resumed.load_state_dict(other.state_dict())
    assert [row["loss"] for row in resumed.run() if row] == [row["loss"] for row in rows[7:]]


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_keep_their_precision_in_bf16(arch):
    """At a logit of 8 bf16 has steps of 1/32: thresholds such as 0.95 could not be told from their neighbours."""
    model = build(arch, classes=3, side=16, filters=4, repeat=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(2, 3, 16, 16)).dtype == torch.float32


def test_compiling_is_refused_where_it_cannot_work(monkeypatch):
    config = TrialConfig(**SETTINGS, compile=True)
    model = build("wrn", classes=10, side=8, channels=1, filters=4, repeat=1)
    monkeypatch.setattr(learner.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler") as error:
        Learner(config, model, make_facts(classes=10))
    assert error.value.key == "compile"
    monkeypatch.setattr(learner, "world_size", lambda: 2)
    with pytest.raises(UserError, match="one worker"):
        learner._compiled(model)
