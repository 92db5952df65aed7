"""MixMatch: what no vector shows."""

import pytest
import torch

from cissl import datasets
from cissl.errors import UserError
from cissl.testing import make_method
from cissl.testing.conformance import short_config
from cissl.training.trainer import Trainer


def trained(steps, **settings):
    config = short_config("mixmatch", **settings)
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    for _ in range(steps):
        trainer.train_step()
    return trainer


def test_one_of_its_passes_alone_moves_batchnorms_averages(monkeypatch):
    trainer, moved = trained(1), []
    forward = trainer.learner.train_forward
    norm = next(m for m in trainer.learner.model.modules() if hasattr(m, "running_mean"))

    def watched(parts, **options):
        before = norm.running_mean.clone()
        result = forward(parts, **options)
        moved.append(not torch.equal(before, norm.running_mean))
        return result

    monkeypatch.setattr(trainer.learner, "train_forward", watched)
    trainer.train_step()
    assert moved == [False, False, True, False, False]  # two guesses, then three interleaved batches


def test_the_first_step_has_no_unlabeled_loss_and_the_ramp_ends():
    method = make_method("mixmatch", warmup_kimg=1.0, w_match=10.0)
    assert method.uratio() == 1
    trainer = trained(3)
    row = trainer.evaluate()
    assert row["terms"]["unlabeled"] > 0 and row["mask_ratio"] == 1


def test_more_views_are_more_passes():
    assert list(make_method("mixmatch", nu=3).views) == ["labeled", "weak", "weak2", "weak3"]


@pytest.mark.parametrize("add_on", ["cap", "cai", "darp", "abc"])
def test_add_ons_on_pseudo_labels_are_refused(add_on):
    with pytest.raises(UserError, match="MixMatch and .* do not combine"):
        make_method(f"mixmatch+{add_on}")
