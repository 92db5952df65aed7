"""Twenty updates against the authors' training graph."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cissl.algorithms.cards import find
from cissl.config import TrialConfig
from cissl.models.backbones import build
from cissl.testing import make_facts
from cissl.training.learner import Learner
from cissl.training.optim import learning_rate
from cissl.training.step import TrainingStep
from tests.reference_names import load_variables, read_variables

REFERENCE = Path(__file__).parents[1] / "reference"
INDEX = json.loads((REFERENCE / "trajectory.json").read_text())
ARRAYS = np.load(REFERENCE / "trajectory.npz")


def arrays(prefix):
    return {name[len(prefix) :]: ARRAYS[name] for name in ARRAYS.files if name.startswith(prefix)}


def make_network(run):
    own = {key: run[key] for key in ("wu", "confidence", "cai_beta", "upper")}
    own |= {"uratio": INDEX["uratio"], "cap_ema_momentum": run["p_momentum"]}
    config = TrialConfig(
        algorithm=run["mode"],
        batch=INDEX["batch"],
        lr=run["lr"],
        wd=run["wd"],
        ema_decay=run["ema"],
        train_kimg=run["train_kimg"],
        filters=run["filters"],
        repeat=run["repeat"],
        scales=run["scales"],
        **{key: value for key, value in own.items() if key in find(run["mode"]).fields},
    )
    model = build(
        "wrn",
        classes=INDEX["nclass"],
        side=run["image"],
        filters=config.filters,
        repeat=config.repeat,
        scales=config.scales,
    )
    return config, model


def make_learner(config, model):
    dtype = model.dense.weight.dtype
    return Learner(config, model, make_facts(classes=INDEX["nclass"], steps=config.steps, dtype=dtype))


def images(name):
    return torch.from_numpy(ARRAYS[name]).permute(0, 3, 1, 2).double() * (2 / 255) - 1


@pytest.mark.parametrize("name", INDEX["runs"])
def test_twenty_updates_equal_the_authors_graph(name):
    run = INDEX["runs"][name]
    config, model = make_network(run)
    load_variables(model, arrays(f"{name}/init/"))
    learner = make_learner(config, model.double())
    pool, pool_strong, held = (images(f"data{run['image']}/{part}") for part in ("pool", "pool_strong", "held"))
    labels = torch.from_numpy(ARRAYS["pool_labels"]).long()
    recorded = arrays(f"{name}/")

    for step in range(INDEX["steps"]):
        labeled, unlabeled = recorded["labeled_idx"][step], recorded["unlabeled_idx"][step]
        assert learning_rate(config, step) == pytest.approx(recorded["lr"][step], rel=1e-6)
        views = {"labeled": pool[labeled], "weak": pool[unlabeled], "strong": pool_strong[unlabeled]}
        losses = learner.update(TrainingStep(learner, step, views, labels[labeled]), learning_rate(config, step))
        assert losses.labeled_sum.item() == pytest.approx(recorded["loss_xe"][step], abs=2e-4)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(recorded["loss_xeu"][step], abs=2e-4)
        assert losses.pseudo.weights.double().mean().item() == pytest.approx(recorded["mask_mean"][step], abs=1e-6)
        if "dr" in losses.labeled:
            assert losses.labeled["dr"].item() == pytest.approx(recorded["loss_xe_aug"][step], abs=2e-4)
            assert losses.measured["dr.mask_ratio"].item() == pytest.approx(recorded["mask_aug_mean"][step], abs=1e-6)
        np.testing.assert_allclose(learner.state["class_prior"], recorded["update_p"][step], atol=5e-6)
        if step == 0 and f"{name}/after1/classify/conv2d/kernel" in ARRAYS:
            compare(read_variables(learner.model), arrays(f"{name}/after1/"), atol=2e-4)

    compare(read_variables(learner.model), arrays(f"{name}/final/"), atol=2e-4, moving_atol=1e-4)
    compare(read_variables(learner.ema_model), arrays(f"{name}/ema_alt/"), atol=2e-5)
    learner.model.eval()
    np.testing.assert_allclose(learner.model(held).detach().softmax(1), recorded["raw_softmax"], atol=5e-4)


def compare(variables, expected, atol, moving_atol=None):
    for name, value in expected.items():
        tolerance = moving_atol if "moving" in name else atol
        np.testing.assert_allclose(variables[name], value, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("schedule", INDEX["lr_schedule"])
def test_learning_rate_equals_the_authors_schedule(schedule):
    config = TrialConfig(lr=schedule["lr0"], train_kimg=schedule["train_kimg"], batch=1)
    for images_seen, rate in zip(schedule["step"], schedule["lr"], strict=True):
        assert learning_rate(config, images_seen) == pytest.approx(rate, rel=1e-5)


def test_the_moving_average_shares_batchnorm_buffers_but_not_weights():
    _, model = make_network(INDEX["runs"]["fixmatch"])
    learner = make_learner(TrialConfig(), model)
    for mine, shared in zip(model.buffers(), learner.ema_model.buffers(), strict=True):
        assert mine is shared
    for mine, averaged in zip(model.parameters(), learner.ema_model.parameters(), strict=True):
        assert mine.data_ptr() != averaged.data_ptr()
