"""Dash against loops written from its description, and its warm-up in a real training."""

import itertools
import math

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.algorithms.dash.dynamic_threshold import row_losses
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method
from cissl.training.trainer import Trainer
from tests.training import short_trial


def softmax(row, temperature=1.0):
    row = row / temperature
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal_step(w, s, rho, hard, temperature):
    """One step, row after row: unlabeled loss and mask."""
    loss, mask = 0.0, []
    for weak, strong in zip(w, s, strict=True):
        target = np.eye(len(weak))[weak.argmax()] if hard else softmax(weak, temperature)
        mask.append(-(target * np.log(softmax(weak))).sum() <= rho)
        loss += mask[-1] * -(target * np.log(softmax(strong))).sum() / len(w)
    return loss, mask


@pytest.mark.parametrize("seed", range(4))
def test_equals_literal_loops(seed):
    random = np.random.default_rng(seed)
    B, U, C = 4, 9, 5
    method = make_method("dash", gamma=1.5, constant=1.1, rho_min=0.4, temperature=0.6, epoch=2, wu=0.5)
    facts = make_facts(classes=C, dtype=torch.float64)
    state, rho, updates, kept, hards = method.state(facts), None, 0, 0, set()
    state["rho_init"] = torch.tensor(0.9, dtype=torch.float64)
    for number in range(65):
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (B, U, U))
        targets = torch.from_numpy(random.integers(0, C, B))
        if number % 20 == 0:  # ten epochs of two steps
            rho, updates = max(1.1 * 1.5**-updates * 0.9, 0.4), updates + 1
        outputs = {view: torch.from_numpy(v) for view, v in (("labeled", x), ("weak", w), ("strong", s))}
        step = CannedStep(method, facts, outputs, targets, state=state, number=number, stage=1)
        losses = step.run()
        state = step.after
        loss, mask = literal_step(w, s, rho, rho == 0.4, 0.6)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss, rel=1e-12)
        assert losses.pseudo.weights.tolist() == mask
        assert state["rho"].item() == pytest.approx(rho, rel=1e-15) and state["rho_updates"] == updates
        kept, hards = kept + sum(mask), hards | {rho == 0.4}
    assert 0 < kept < 65 * U and hards == {True, False}


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_certain_rows_have_a_finite_loss(temperature):
    method, facts = make_method("dash", temperature=temperature, rho_min=0.0), make_facts(classes=3)
    state = {**method.state(facts), "rho_init": torch.tensor(0.1, dtype=torch.float64)}
    weak = torch.tensor([[300.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    outputs = {"labeled": torch.zeros(1, 3), "weak": weak, "strong": torch.zeros(2, 3)}
    losses = CannedStep(method, facts, outputs, torch.tensor([0]), state=state, stage=1).run()
    assert losses.pseudo.weights.tolist() == [True, False]
    assert losses.total.isfinite()


def test_a_loss_at_the_threshold_is_kept():
    targets = torch.tensor([[1.0, 0.0]])
    assert row_losses(torch.tensor([[0.5, 0.5]]), targets).item() == pytest.approx(math.log(2))
    method, facts = make_method("dash", constant=1.0, rho_min=0.0, temperature=1.0), make_facts(classes=2)
    loss = row_losses(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]])).double().squeeze()
    outputs = {"labeled": torch.zeros(1, 2), "weak": torch.zeros(1, 2), "strong": torch.zeros(1, 2)}
    for start, kept in ((loss, True), (0.999 * loss, False)):
        state = {**method.state(facts), "rho_init": start}
        losses = CannedStep(method, facts, outputs, torch.tensor([0]), state=state, stage=1).run()
        assert losses.pseudo.weights.tolist() == [kept]


def test_the_warm_up_trains_on_labeled_images_alone():
    method, facts = make_method("dash+cap"), make_facts(classes=3)
    outputs = {"labeled": torch.randn(4, 3)}  # another view is not there
    targets = torch.tensor([0, 1, 2, 0])
    losses = CannedStep(method, facts, outputs, targets).run()
    assert losses.total == torch.nn.functional.cross_entropy(outputs["labeled"], targets)
    assert losses.pseudo is None


def trained(steps, **settings):
    values = {"algorithm": "dash", "num_wu_iter": 4, "train_kimg": 10 * 8 / 1024, **settings}
    config = TrialConfig(**short_trial.settings(**values))
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    rows = list(itertools.islice(trainer.run(), steps))
    return trainer, rows


def test_after_the_warm_up_threshold_schedule_and_average_start_over():
    trainer, _ = trained(4)
    assert trainer.learner.state["rho_init"] == 0
    weights = [parameter.clone() for parameter in trainer.learner.model.parameters()]
    labeled = trainer.survey().outputs("labeled", network="raw").logits
    targets = trainer.learner.facts.labeled_targets
    expected = torch.nn.functional.cross_entropy(labeled.double(), targets)
    trainer._between_steps()
    assert trainer.learner.state["rho_init"] == expected
    assert all(map(torch.equal, trainer.learner.ema_model.parameters(), weights))
    assert trainer.schedule.rate(4) == trainer.schedule.rate(0) > trainer.schedule.rate(3)
    trainer.train_step()
    assert trainer.learner.state["rho"] == max(1.0001 * expected, 0.05)


def test_the_threshold_may_start_from_a_given_loss():
    trainer, _ = trained(5, rho_init=1.25)
    assert trainer.learner.state["rho_init"] == 1.25


def test_a_training_without_room_for_the_warm_up_is_refused():
    with pytest.raises(UserError, match="train longer"):
        trained(1, num_wu_iter=10)


def test_its_own_stages_and_threshold_leave_no_place_for_others():
    for other in ("cai", "crest"):
        with pytest.raises(UserError, match="Dash and .* do not combine"):
            make_method(f"dash+{other}")
