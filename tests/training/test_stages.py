"""A training in several stages: what a fresh one starts from, and what a method sees of it."""

import itertools

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.algorithms.contract import Stage, Stream, View
from cissl.algorithms.fixmatch.card import Settings
from cissl.algorithms.fixmatch.method import FixMatch
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training import records
from cissl.training.checkpoint import checkpoints, load_newest_checkpoint
from cissl.training.trainer import Trainer
from cissl.training.trial import run_trial
from tests.training import short_trial

PICKED = torch.tensor([3, 30, 50]), torch.tensor([9, 9, 8])


class Staged(FixMatch):
    """FixMatch in three stages, of which the second starts afresh with three images more; it notes what it sees."""

    title = "Staged"
    Settings = Settings
    views = {**FixMatch.views, "balanced": View("balanced", "labeled")}

    def streams(self, facts):
        return {"balanced": Stream("labeled", 4, lambda labels: 1 / np.bincount(labels)[labels])}

    def stages(self, facts):
        return (Stage(0.25), Stage(0.5, fresh=True, restart_schedule=True), Stage(0.25))

    def state(self, facts):
        empty = torch.zeros(0, dtype=torch.int64)
        return {**super().state(facts), "picked": empty, "age": torch.zeros((), dtype=torch.int64)}

    def between(self, survey, state):
        self.surveys.append((survey.number, survey.stage, len(survey.outputs("labeled").logits)))
        return {"picked": PICKED[0]} if survey.stage == 0 else {"age": state["age"] + 100}

    def extra_labeled(self, state):
        return (state["picked"], PICKED[1]) if len(state["picked"]) else None

    def losses(self, step):
        step.next["age"] = step.state["age"] + 1
        facts = step.facts
        self.seen.append((step.number, facts.steps, step.stage_number, step.stage_steps, facts.labeled))
        self.drawn.append((step.index["labeled"], step.targets, step.labels["balanced"], step.random("x").uniform(1)))
        return super().losses(step)


def trainer(**changes):
    name = "tests.training.test_stages:Staged"
    config = TrialConfig(**short_trial.settings(**{"algorithm": name, "train_kimg": 16 * 8 / 1024, **changes}))
    made = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    base = made.learner.method.base
    base.seen, base.drawn, base.surveys = [], [], []
    return made


@pytest.fixture(scope="module")
def trained():
    made = trainer()
    weights, rates, ages = [], [], []
    for _ in range(16):
        made._between_steps()
        weights.append({k: v.clone() for k, v in made.learner.model.state_dict().items()})
        rates.append(made.schedule.rate(made.step))
        made.train_step()
        ages.append(made.learner.state["age"].item())
    return made, weights, rates, ages


def test_a_fresh_stage_is_a_training_of_its_own_to_the_method(trained):
    made, _, _, ages = trained
    labeled = len(made.dataset.labeled)
    first = [(n, 4, n, 4, labeled) for n in range(4)]
    second = [(n, 12, n, 8, labeled + 3) for n in range(8)]
    third = [(8 + n, 12, n, 4, labeled + 3) for n in range(4)]
    assert made.learner.method.base.seen == first + second + third
    assert made.learner.method.base.surveys == [(4, 0, labeled), (8, 1, labeled + 3)]
    assert ages == [1, 2, 3, 4, *range(1, 9), 109, 110, 111, 112]


def test_its_learning_rate_starts_over(trained):
    _, _, rates, _ = trained
    assert rates[4] == rates[0] == short_trial.SETTINGS["lr"]
    assert all(a > b for part in (rates[:4], rates[4:]) for a, b in itertools.pairwise(part))


def test_its_network_is_new(trained):
    _, weights, _, _ = trained
    kernel = "dense.weight"
    assert not torch.equal(weights[0][kernel], weights[3][kernel])
    assert torch.equal(weights[4]["dense.bias"], weights[0]["dense.bias"])  # zeros, as at the start
    assert weights[4][kernel].std() == pytest.approx(weights[0][kernel].std().item(), rel=0.2)
    assert not torch.allclose(weights[4][kernel], weights[3][kernel], atol=0.1)
    assert not torch.allclose(weights[12][kernel], weights[4][kernel], atol=1e-3)  # the third goes on


def test_random_numbers_are_those_of_the_trials_step(trained):
    numbers = [draw.item() for *_, draw in trained[0].learner.method.base.drawn]
    assert len(set(numbers)) == 16


def test_its_labeled_images_have_the_labels_they_were_given(trained):
    made, labeled = trained[0], len(trained[0].dataset.labeled)
    own = torch.from_numpy(made.dataset.labels[made.dataset.labeled])
    classes = torch.cat([own, PICKED[1]])
    seen = set()
    for index, targets, balanced, _ in made.learner.method.base.drawn[4:]:
        assert torch.equal(targets, classes[index])
        seen |= set(index.tolist())
        assert balanced.max() < 10
    assert seen & {labeled, labeled + 1, labeled + 2}
    assert all(index.max() < labeled for index, *_ in made.learner.method.base.drawn[:4])
    many = torch.cat([balanced for *_, balanced, _ in made.learner.method.base.drawn[4:]])
    assert (many >= 8).any()  # so rare that the first images alone would hardly show them


def test_rates_of_the_augmentation_start_over():
    made = trainer()
    start = made.augmentation.state_dict()["rates"]
    for _ in range(4):
        made.train_step()
    assert not torch.equal(made.augmentation.state_dict()["rates"], start)
    made._between_steps()
    assert torch.equal(made.augmentation.state_dict()["rates"], start)


@pytest.mark.parametrize("stop", [3, 4, 5, 12])
def test_an_interrupted_one_goes_on_in_the_right_stage(one_thread, stop):
    whole, first, second = trainer(), trainer(), trainer()
    rows = [row for row in whole.run() if row]
    for _ in range(stop):
        first.train_step()
    second.load_state_dict(first.state_dict())
    assert [row for row in second.run() if row][1:] == rows[stop + 1 :]
    for name, value in whole.learner.model.state_dict().items():
        assert torch.equal(value, second.learner.model.state_dict()[name]), name


def test_a_trial_with_fewer_steps_than_stages_is_refused():
    with pytest.raises(UserError, match="3 stages.*2 steps.*train longer") as error:
        trainer(train_kimg=2 * 8 / 1024)
    assert error.value.key == "train_kimg"


@pytest.mark.parametrize("stop", [3, 4, 5, 8, 9])
def test_a_killed_trial_goes_on_in_the_right_generation(tmp_path, one_thread, stop):
    """Within one, exactly between two (after 4 and 8 of 12 steps), and after the first step of one."""
    kimg = short_trial.SETTINGS["batch"] / 1024
    times = {"train_kimg": 12 * kimg, "report_kimg": kimg, "save_kimg": kimg, "keep_training_state": True}
    crest = {"algorithm": "fixmatch+crest+", "crest.num_generation": 3}
    trial = TrialConfig(**short_trial.settings(**crest, **times))

    def kill(row):
        if row["step"] == stop:
            raise KeyboardInterrupt

    run_trial(trial, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial, tmp_path / "killed", device="cpu", on_evaluation=kill)
    assert records.read_status(tmp_path / "killed")["step"] == stop
    saved = load_newest_checkpoint(tmp_path / "killed" / "checkpoints")["trainer"]
    assert saved["step"] == stop and saved["stage"] == (stop - 1) // 4
    run_trial(trial, tmp_path / "killed", device="cpu")

    whole, killed = ([strip(row) for row in records.read_history(tmp_path / name)] for name in ("whole", "killed"))
    assert [row["stage"] for row in whole] == [0] * 4 + [1] * 4 + [2] * 4
    assert whole == killed
    last, other = (last_state(tmp_path / name) for name in ("whole", "killed"))
    assert last.keys() == other.keys() and all(torch.equal(last[name], other[name]) for name in last)
    assert last["state/crest.positions"].numel() > 0


def strip(row):
    return {key: value for key, value in row.items() if key != "seconds"}


def last_state(folder):
    learner = torch.load(checkpoints(folder / "checkpoints")[-1], weights_only=True)["trainer"]["learner"]
    return {f"{part}/{name}": value for part, values in learner.items() for name, value in values.items()}
