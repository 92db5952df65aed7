"""CReST and CReST+ against loops written from their description, and generations of a trial."""

import dataclasses

import numpy as np
import pytest
import torch

from cissl import datasets
from cissl.algorithms.cards import find
from cissl.algorithms.contract import Outputs
from cissl.algorithms.crest.rebalancing import added_shares, class_distribution, class_lists, exponent, picked, ranks
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method
from cissl.training.trainer import Trainer
from tests.training import short_trial


def softmax(rows):
    e = np.exp(rows - rows.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def literal_step(x, w, s, y, buffer, p_data, pi, t, *, options):
    """Losses and new running means of one step, row by row; `t` None aligns nothing, "labels" to the labels' mean."""
    U, C = w.shape
    P = softmax(w)
    p_m = np.mean(buffer, 0) / np.mean(buffer, 0).sum()
    data = p_data / p_data.sum()
    target = data if t == "labels" else pi ** (t or 0) / (pi ** (t or 0)).sum()
    A = P.copy()
    if t is not None:
        for u in range(U):
            A[u] = P[u] * (target + 1e-6) / (p_m + 1e-6)
            A[u] /= A[u].sum()
    mask = [float(a.max() >= options["confidence"]) for a in A]
    loss_u = 0.0
    for u in range(U):
        if options["temperature"]:
            q = A[u] ** (1 / options["temperature"])
            q = q / q.sum()
        else:
            q = np.eye(C)[A[u].argmax()]
        loss_u += mask[u] * -(q * np.log(softmax(s)[u])).sum()
    loss_u /= max(1.0, sum(mask)) if options["quality"] else U
    v = 1 / (1e-6 + data)
    weight = C * v / v.sum() if options["reweight"] else np.ones(C)
    loss_x = np.mean([weight[y[i]] * -np.log(softmax(x)[i, y[i]]) for i in range(len(y))])
    buffer = [*buffer[1:], P.mean(0)]
    return loss_x, loss_u, buffer, 0.999 * p_data + 0.001 * np.mean(np.eye(C)[y], 0)


OPTIONS = [
    ("crest", {}, None),
    ("crest", {"crest.reweight_labeled": True, "crest.temperature": 0.5}, None),
    ("crest+", {}, 0.8),
    ("crest+", {"crest.how_dalign": "constant", "crest.unsup_loss_divisor": "quality"}, 0.5),
    ("crest+", {"crest.how_dalign": "labels", "crest.temperature": 2.0, "confidence": 0.999}, "labels"),
]


@pytest.mark.parametrize("name, settings, t", OPTIONS)
def test_steps_equal_literal_loops(name, settings, t):
    random = np.random.default_rng(0)
    B, U, C, counts = 6, 14, 4, [3, 12, 1, 7]
    settings = {"confidence": 0.7, "wu": 1.5, "crest.gamma": 20.0, **settings}
    method = make_method(f"fixmatch+{name}", **settings)
    facts = make_facts(classes=C, labeled_counts=counts, dtype=torch.float64)
    options = {
        "confidence": settings["confidence"],
        "temperature": settings.get("crest.temperature", 0),
        "quality": settings.get("crest.unsup_loss_divisor") == "quality",
        "reweight": settings.get("crest.reweight_labeled", False),
    }
    pi = np.array([20 ** -(rank / 3) for rank in (2, 0, 3, 1)])
    pi /= pi.sum()
    buffer, p_data = [*softmax(random.normal(size=(128, C)))], softmax(random.normal(size=(1, C)))[0] * 1.1
    state = {
        **method.state(facts),
        "crest.p_model": torch.tensor(np.array(buffer)),
        "crest.p_data": torch.tensor(p_data),
    }
    for _ in range(3):
        x, w, s = (3 * random.normal(size=(rows, C)) for rows in (B, U, U))
        y = random.integers(0, C, B)
        loss_x, loss_u, buffer, p_data = literal_step(x, w, s, y, buffer, p_data, pi, t, options=options)
        outputs = {"labeled": torch.tensor(x), "weak": torch.tensor(w), "strong": torch.tensor(s)}
        step = CannedStep(method, facts, outputs, torch.tensor(y), state=state, stage=2)
        losses = step.run()
        assert losses.labeled["labeled"].item() == pytest.approx(loss_x, rel=1e-12)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss_u, rel=1e-12)
        assert losses.total.item() == pytest.approx(loss_x + 1.5 * loss_u, rel=1e-12)
        state = step.after
        np.testing.assert_allclose(state["crest.p_model"], np.array(buffer), rtol=1e-12)
        np.testing.assert_allclose(state["crest.p_data"], p_data, rtol=1e-12)


def test_the_first_generation_aligns_fully_and_the_last_by_its_exponent():
    assert [exponent(g, 6, 0.5) for g in range(6)] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5])
    assert exponent(0, 1, 0.5) == 1


def test_order_and_distribution_of_classes():
    counts = torch.tensor([5, 9, 0, 5])
    assert ranks(counts).tolist() == [1, 0, 3, 2]  # of equals the lower number first
    assert class_distribution(counts).tolist() == pytest.approx([5 / 19, 9 / 19, 0, 5 / 19])
    ideal = class_distribution(counts, gamma=8.0)
    assert (ideal / ideal.max()).tolist() == pytest.approx([1 / 2, 1, 1 / 8, 1 / 4])


def test_shares_mirror_the_frequencies_exactly():
    """The product with a count is truncated, so a share such as 1/2 must not come out a little lower."""
    assert added_shares([40, 20, 10], alpha=1.0) == [0.25, 0.5, 1.0]
    assert added_shares([10, 40, 20], alpha=1.0) == [1.0, 0.25, 0.5]
    assert added_shares([27, 8, 1], alpha=3.0)[1:] == pytest.approx([(8 / 27) ** (1 / 3), 1])
    assert added_shares([1, 2, 3], alpha=1.0, gamma=16.0) == [1.0, 0.25, 1 / 16]
    assert added_shares([4, 4, 4], alpha=3.0) == [1.0, 1.0, 1.0]
    assert added_shares([4, 2, 0], alpha=3.0) == pytest.approx([0, 0.5 ** (1 / 3), 1])
    assert added_shares([7], alpha=3.0) == added_shares([7], alpha=3.0, gamma=5.0) == [1.0]


class Survey:
    """A look at scores that are given, after generation `stage`."""

    def __init__(self, scores, facts, stage=0):
        self.scores, self.facts, self.stage, self.number = scores, facts, stage, facts.steps

    def outputs(self, images, *, network, augment="none"):
        assert (images, network, augment) == ("unlabeled", "average", "none")
        return Outputs(torch.tensor(self.scores).log())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("update_mode", ["distribution", "all"])
def test_a_generation_picks_as_literal_loops_do(seed, update_mode):
    random = np.random.default_rng(seed)
    N, C, counts = 60, 5, [3, 12, 1, 7, 0]
    scores = softmax(random.normal(size=(N, C)) + np.array([1, 2, 0, 1, -9]))
    scores[10:14] = scores[30]  # equals
    too = random.random(N) < 0.2
    expected = []
    for c in range(C):
        rows = [n for n in range(N) if not too[n] and scores[n].argmax() == c]
        rows.sort(key=lambda n: (-scores[n].max(), n))
        mirrored = sorted(counts, reverse=True)[C - 1 - sorted(range(C), key=lambda k: (-counts[k], k)).index(c)]
        share = 1 if update_mode == "all" else (mirrored / max(counts)) ** (1 / 2)
        expected += [(n, c) for n in rows[: int(len(rows) * share)]]
    method = make_method("fixmatch+crest", **{"crest.alpha": 2.0, "crest.update_mode": update_mode})
    facts = make_facts(classes=C, labeled_counts=counts, unlabeled=N, labeled_too=torch.tensor(too))
    state = {**method.state(facts), "crest.positions": torch.tensor([3]), "crest.classes": torch.tensor([1])}
    carried = method.between(Survey(scores, facts), state)
    positions, classes = method.extra_labeled(carried)
    assert list(zip(positions.tolist(), classes.tolist(), strict=True)) == expected
    assert expected


def test_a_class_that_is_never_predicted_gives_nothing():
    lists = class_lists(torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]), torch.tensor([True, False]))
    assert [rows.tolist() for rows in lists] == [[0], [], []]
    assert [rows.tolist() for rows in picked(lists, [0.99, 1.0, 1.0])] == [[], [], []]


def config(algorithm, **settings):
    return TrialConfig(**short_trial.settings(algorithm=algorithm, train_kimg=12 * 8 / 1024, **settings))


def test_generations_in_training():
    trainer = Trainer(config("crest+", **{"crest.num_generation": 3}), *data())
    trainer_facts, added = [], []
    for _ in range(12):
        trainer.train_step()
        facts = trainer.learner.facts
        trainer_facts.append((facts.steps, facts.labeled))
        added.append(trainer.learner.state["crest.positions"])
    labeled = len(trainer.dataset.labeled)
    assert trainer_facts[:4] == [(4, labeled)] * 4
    for first in (4, 8):
        assert trainer_facts[first : first + 4] == [(4, labeled + len(added[first]))] * 4
        assert not set(trainer.dataset.unlabeled[added[first]]) & set(trainer.dataset.labeled)
    assert len(added[4]) > 0 and not torch.equal(added[4], added[8])  # picks are made anew, they do not accumulate
    assert trainer.learner.state["crest.counts"].tolist() == list(trainer.dataset.labeled_counts)
    filled = (trainer.learner.state["crest.p_model"] != 0.1).any(1).sum()
    assert filled == 4  # running means begin anew as well


def data():
    return datasets.load(short_trial.SETTINGS["dataset"]), torch.device("cpu")


def test_other_add_ons_see_each_generation_as_a_training():
    """ABC's ramp starts over, and its rates are those of the images that are drawn."""
    trainer = Trainer(config("fixmatch+crest+abc", **{"crest.num_generation": 2}), *data())
    progress = []
    for _ in range(12):
        trainer._between_steps()
        step = trainer._step(trainer._batch(), {})
        progress.append(step.progress)
        trainer.train_step()
    assert progress == pytest.approx([n / 6 for n in (*range(6), *range(6))])
    assert trainer.learner.facts.labeled_counts.sum() > len(trainer.dataset.labeled)


def test_what_means_nothing_is_refused():
    with pytest.raises(UserError, match="CReST and CReST\\+ do not combine: .* divides the training into stages"):
        find("fixmatch+crest+crest+")
    with pytest.raises(UserError, match="12 steps do not divide"):
        Trainer(config("fixmatch+crest", **{"crest.num_generation": 13}), *data())


@pytest.mark.parametrize(
    "setting, value", [("reweight_labeled", True), ("temperature", 0.5), ("unsup_loss_divisor", "quality")]
)
def test_an_option_that_the_base_has_no_place_for_is_refused(setting, value):
    method = make_method("fixmatch+crest", **{f"crest.{setting}": value})
    method.base.card = dataclasses.replace(method.base.card, slots=("stages",))
    with pytest.raises(UserError, match=f"crest.{setting} changes the .* loss, and FixMatch lets no add-on"):
        method.state(make_facts(classes=2))


def test_a_divisor_that_is_the_same_is_refused():
    method = make_method("rda+crest", **{"crest.unsup_loss_divisor": "quality"})
    with pytest.raises(UserError, match="divides by the pseudo-labels kept, and RDA keeps all"):
        method.state(make_facts(classes=2))


@pytest.mark.parametrize("base", ["fixmatch", "adamatch"])
def test_the_labels_mean_is_kept_for_bases_without_a_place_to_guess_too(base):
    trainer = Trainer(config(f"{base}+crest", **{"crest.num_generation": 2, "crest.reweight_labeled": True}), *data())
    targets = torch.zeros(10)
    for _ in range(3):
        batch = trainer._batch()
        targets = 0.999 * targets + 0.001 * torch.bincount(batch.targets, minlength=10) / len(batch.targets)
        trainer.train_step()
    torch.testing.assert_close(trainer.learner.state["crest.p_data"], 0.999**3 / 10 + targets)


def test_names_and_settings():
    assert find("FixMatch+CReST+").name == "fixmatch+crest+"
    assert find("crest++abc").name == find("fixmatch+abc+crest+").name
    assert find("fixmatch+crest+abc").name != find("fixmatch+crest++abc").name
    assert "crest.dalign_t" in find("crest+").fields and "crest.dalign_t" not in find("crest").fields
