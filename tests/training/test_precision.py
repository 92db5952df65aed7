"""Faster arithmetic: how far `precision` and `compile` may stray from the exact trial, and when they are refused."""

import shutil

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

# A rate at which rounding stays small, and a threshold that all pseudo-labels pass in either precision.
SETTINGS = short_trial.SETTINGS | dict(algorithm="cadr", filters=8, lr=0.01, confidence=0.1)
# The learner itself refuses to compile there, which has a test below.
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, CXX)), reason="needs a C++ compiler")


def make_trainer(**settings):
    config = TrialConfig(**{**SETTINGS, **settings})
    return Trainer(config, datasets.load(config.dataset), torch.device("cpu"))


def losses(**settings):
    return torch.tensor([row["loss"] for row in make_trainer(**settings).run() if row])


@pytest.fixture(scope="module")
def exact():
    return losses()


@pytest.mark.parametrize(
    "settings, bound",
    [
        pytest.param({"precision": "bf16"}, 0.05),
        pytest.param({"compile": True}, 1e-3, marks=[needs_compiler, pytest.mark.slow]),
        pytest.param({"precision": "bf16", "compile": True}, 0.05, marks=[needs_compiler, pytest.mark.slow]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else str(value),
)
def test_twenty_steps_stay_close_to_the_exact_ones(settings, bound, exact):
    """bf16 keeps 8 bits; the compiler only adds in another order."""
    found = losses(**settings)
    assert not torch.equal(found, exact)  # the setting has reached the network
    torch.testing.assert_close(found, exact, rtol=0, atol=bound)


def test_a_bf16_trial_resumes_exactly():
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
