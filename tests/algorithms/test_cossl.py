"""CoSSL against loops written from its description."""

import types

import numpy as np
import pytest
import torch
from torch import nn

from cissl import datasets
from cissl.algorithms.cards import find
from cissl.algorithms.contract import Outputs
from cissl.algorithms.cossl.method import BALANCED, OTHER
from cissl.algorithms.cossl.second_head import fresh, logits, stepped
from cissl.errors import UserError
from cissl.testing import CannedDraws, CannedStep, check_method, make_facts, make_method
from cissl.testing.conformance import short_config
from cissl.training.trainer import Trainer

D = 3


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal_set(labeled, y, weak, strong, C, partners, shares):
    """(features, labels) of the second head's first training, image after image."""
    counts = [int((y == c).sum()) for c in range(C)]
    W = np.zeros((C, D))
    for c in range(C):
        if counts[c]:
            mean = np.mean([f for f, label in zip(labeled, y, strict=True) if label == c], 0)
            W[c] = mean / np.linalg.norm(mean)
    rows, classes = list(labeled), list(y)
    for c in range(C):
        others = [(softmax(W @ labeled[i])[c], labeled[i]) for k in range(C) if k != c for i in np.flatnonzero(y == k)]
        others += [(softmax(W @ w)[c], s) for w, s in zip(weak, strong, strict=True)]
        others.sort(key=lambda pair: -pair[0])  # stable
        own = labeled[y == c]
        m = min(max(counts) - counts[c], len(others)) if counts[c] else 0
        if not m:
            continue
        for place, lam, (_, other) in zip(partners.pop(0), shares.pop(0), others, strict=False):
            rows.append(lam * own[place] + (1 - lam) * other)
            classes.append(c)
    return np.array(rows), classes


class Survey:
    """A look at given features, with given draws."""

    def __init__(self, facts, features, draws):
        self.facts, self.features, self.draws = facts, features, draws
        self.stage, self.number = 0, facts.steps

    def outputs(self, images="unlabeled", *, network="average", augment="none"):
        assert network == "average"
        features = torch.from_numpy(self.features[images, augment])
        return Outputs(torch.zeros(len(features), self.facts.classes), features)

    def random(self, purpose):
        return CannedDraws(self.draws[purpose])


@pytest.mark.parametrize(
    "counts, unlabeled",
    [([7, 4, 1], 5), ([1, 6, 6], 9), ([5, 0, 2], 4), ([3, 3], 4), ([9, 1], 2), ([3] + [1] * 99, 20)],
    ids=["long tail", "rare first", "a class without images", "balanced", "too few others", "100 classes"],
)
def test_the_second_phase_starts_as_literal_loops_say(counts, unlabeled):
    """With ties: some unlabeled images are equal in their weak views and not in their strong ones."""
    random, C = np.random.default_rng(len(counts)), len(counts)
    labels = np.repeat(np.arange(C), counts)
    random.shuffle(labels)
    facts = make_facts(classes=C, labeled_counts=counts, width=D, steps=10, batch=4, dtype=torch.float64)
    facts.labeled_targets[:] = torch.from_numpy(labels)
    labeled, weak, strong = (random.normal(size=(n, D)) for n in (len(labels), unlabeled, unlabeled))
    weak[1] = weak[0]
    made = [max(counts) - n for n in counts if n]
    made = [min(m, len(labels) - n + unlabeled) for m, n in zip(made, [n for n in counts if n], strict=True)]
    partners = [random.integers(0, n, m) for m, n in zip(made, [n for n in counts if n], strict=True) if m]
    shares = [random.random(len(places)) for places in partners]
    rows, classes = literal_set(labeled, labels, weak, strong, C, list(partners), list(shares))

    orders = [random.permutation(len(rows)) for _ in range(4 * 6 // len(rows) + 1)]
    start = random.random((C, D + 1))
    draws = {"cossl.head": [start], "cossl.order": list(orders), "cossl.partners": partners, "cossl.shares": shares}
    features = {("labeled", "none"): labeled, ("unlabeled", "weak"): weak, ("unlabeled", "strong"): strong}
    settings = {"cossl.warm_tfe": 6, "cossl.lr_tfe": 0.1, "cossl.wd_tfe": 0.3, "cossl.ema_decay": 0.5}
    method = make_method("fixmatch+cossl", **settings)
    survey = Survey(facts, features, draws)
    found = method.add_ons[0].enhanced(survey)
    np.testing.assert_allclose(found[0], rows, rtol=1e-12, atol=1e-14)
    assert found[1].tolist() == classes

    head = nn.Linear(D, C, dtype=torch.float64)
    with torch.no_grad():
        for parameter, part in zip(head.parameters(), (start[:, :-1], start[:, -1]), strict=True):
            parameter.copy_(torch.from_numpy((2 * part - 1) / np.sqrt(D)))
    averages = [parameter.detach().clone() for parameter in head.parameters()]
    optimizer = torch.optim.Adam(
        [{"params": [head.weight], "weight_decay": 0.3}, {"params": [head.bias], "weight_decay": 0}], lr=0.1
    )
    stream = np.concatenate(orders)
    for k in range(6):
        chosen = stream[4 * k : 4 * k + 4]
        optimizer.zero_grad()
        wanted = torch.tensor([classes[i] for i in chosen])
        nn.functional.cross_entropy(head(torch.from_numpy(rows[chosen])), wanted).backward()
        optimizer.step()
        averages = [0.5 * a + 0.5 * p.detach() for a, p in zip(averages, head.parameters(), strict=True)]
    state = method.between(survey, method.state(facts))
    for name, (weight, bias) in (("weights", list(head.parameters())), ("average", averages)):
        expected = torch.cat([weight, bias[:, None]], 1).detach()
        torch.testing.assert_close(state[f"cossl.{name}"], expected, rtol=1e-9, atol=1e-12)
    assert not state["cossl.first"].any() and not state["cossl.second"].any() and state["cossl.started"]


@pytest.mark.parametrize("counts", [[6, 3, 1], [0, 5, 2], [4, 4, 4]], ids=str)
@pytest.mark.parametrize("tau", [0.4, 1.0])
def test_a_step_of_the_second_phase_equals_literal_loops(counts, tau):
    random, C, B, U = np.random.default_rng(3), 3, 5, 8
    settings = {"cossl.max_lam": 0.7, "cossl.lr": 0.05, "cossl.wd_tfe": 0.2, "cossl.ema_decay": 0.9}
    method = make_method("fixmatch+cossl", confidence=tau, **settings)
    facts = make_facts(classes=C, labeled_counts=counts, width=D, steps=10, dtype=torch.float64)
    H, average = random.normal(size=(2, C, D + 1))
    head = nn.Linear(D, C, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(H[:, :-1]))
        head.bias.copy_(torch.from_numpy(H[:, -1]))
    optimizer = torch.optim.Adam(
        [{"params": [head.weight], "weight_decay": 0.2}, {"params": [head.bias], "weight_decay": 0}], lr=0.05
    )
    state = method.state(facts) | {"cossl.weights": torch.from_numpy(H), "cossl.average": torch.from_numpy(average)}
    present = np.flatnonzero(counts)
    mixed = 0
    for t in range(4):
        weak, strong = random.normal(size=(2, U, D))
        balanced, other = random.normal(size=(2, B, D))
        y, draws, places = random.choice(present, B), random.random(B), random.random(B)
        z = balanced.copy()
        for i in range(B):
            if draws[i] < (max(counts) - counts[y[i]]) / max(counts):
                lam, mixed = 0.7 + 0.3 * places[i], mixed + 1
                z[i] = lam * balanced[i] + (1 - lam) * other[i]
        with torch.no_grad():
            P = head(torch.from_numpy(weak)).softmax(1)
        own = random.normal(size=(U, C))
        unlabeled = 0.0
        for row, p in zip(own, P.numpy(), strict=True):
            unlabeled -= np.log(softmax(row)[p.argmax()]) / U if p.max() >= tau else 0
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(torch.from_numpy(z)), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        average = 0.9 * average + 0.1 * torch.cat([head.weight, head.bias[:, None]], 1).detach().numpy()

        chances = torch.tensor([(max(counts) - n) / max(counts) for n in counts], dtype=torch.float64)
        step = CannedStep(
            method,
            facts,
            {
                "labeled": torch.zeros(2, C, dtype=torch.float64),
                "weak": torch.from_numpy(random.normal(size=(U, C))),
                "strong": torch.from_numpy(own),
            },
            torch.zeros(2, dtype=torch.int64),
            state=state,
            number=6 + t,
            stage=1,
            stage_number=t,
            labels={BALANCED: torch.from_numpy(y)},
            networks=[Outputs(torch.zeros(0), torch.from_numpy(np.concatenate([weak, balanced, other])))],
            draws={"cossl.mix": [torch.from_numpy(draws) < chances[y]], "cossl.lambda": [places]},
        )
        losses = step.run()
        state = step.after
        torch.testing.assert_close(losses.pseudo.probabilities, P, rtol=1e-9, atol=1e-12)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(unlabeled, rel=1e-9, abs=1e-14)
        assert step.measured["cossl.loss"].item() == pytest.approx(loss.item(), rel=1e-9)
        np.testing.assert_allclose(state["cossl.weights"][:, -1], head.bias.detach(), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(state["cossl.weights"][:, :-1], head.weight.detach(), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(state["cossl.average"], average, rtol=1e-8, atol=1e-10)
        assert not {view for view, out in step._outputs.items() if out.logits.requires_grad}
    assert mixed if len(set(counts)) > 1 else not mixed


def test_the_chance_to_be_mixed_is_that_of_the_images_class():
    """The draws of a step are compared with the chances of the balanced images' classes."""
    facts = make_facts(classes=2, labeled_counts=[4, 1], width=D, dtype=torch.float64)
    method, asked = make_method("fixmatch+cossl"), []
    step = CannedStep(
        method,
        facts,
        dict.fromkeys(("labeled", "weak", "strong"), torch.zeros(2, 2, dtype=torch.float64)),
        torch.tensor([0, 1]),
        stage=1,
        stage_number=0,
        labels={BALANCED: torch.tensor([1, 0])},
        networks=[Outputs(torch.zeros(0), torch.zeros(6, D, dtype=torch.float64))],
    )
    draws = types.SimpleNamespace(
        bernoulli=lambda chances: asked.append(chances) or chances > 0.5, uniform=lambda n: torch.ones(n).double()
    )
    step.random = lambda purpose: draws
    step.run()
    assert asked[0].tolist() == [0.75, 0.0]


def test_the_first_phase_is_the_bases_and_the_second_heads_average_predicts_afterwards():
    facts = make_facts(classes=2, width=D)
    method = make_method("fixmatch+cossl")
    state = method.state(facts)
    outputs = Outputs(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert method.predict(outputs, state).tolist() == [[1.0, 2.0]]
    average = torch.tensor([[5.0, 0, 0, 1], [3, 0, 0, 0]])
    state |= {"cossl.started": torch.tensor(True), "cossl.average": average}
    assert method.predict(outputs, state).tolist() == [[6.0, 3.0]]

    logits_of = {name: torch.randn(2, 2, generator=torch.manual_seed(0)) for name in ("labeled", "weak", "strong")}
    losses = [
        CannedStep(make_method(name), facts, logits_of, torch.tensor([0, 1])).run().total.item()
        for name in ("fixmatch", "fixmatch+cossl")
    ]
    assert losses[0] == losses[1]


def test_a_rate_of_zero_and_extreme_features_stay_finite():
    head = fresh(torch.tensor([[1e4, 0.0], [-1e4, 0.0]]))
    for number in range(3):
        head, loss = stepped(
            head, torch.tensor([[-1.0]]), torch.tensor([0]), number=number, lr=0.0, weight_decay=0.0, decay=0.999
        )
    assert loss.isfinite() and head.weights.tolist() == [[1e4, 0.0], [-1e4, 0.0]]
    assert logits(head.weights, torch.ones(1, 1)).tolist() == [[1e4, -1e4]]


def test_the_second_phase_begins_once_and_has_its_streams():
    """Every class is drawn equally often for the balanced batch, whatever the number of its images."""
    config = short_config("fixmatch+cossl")
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    started, made, drawn = [], [], []
    for _ in range(8):
        trainer.train_step()
        started.append(bool(trainer.learner.state["cossl.started"]))
        views, _ = trainer._augmented(trainer._batch())
        made.append(sorted(views)[:2] == [BALANCED, OTHER])
    assert started == made == [False] * 6 + [True] * 2
    for number in range(100):
        drawn.append(torch.from_numpy(trainer._batches.at(number).labels[BALANCED]))
    shares = torch.bincount(torch.cat(drawn), minlength=10) / sum(map(len, drawn))
    assert (shares - 0.1).abs().max() < 0.05
    counts = trainer.learner.facts.labeled_counts
    assert counts.max() > 4 * counts.min()


@pytest.mark.parametrize("start", [12, 0.01])
def test_phases_without_a_step_are_refused(start):
    config = short_config("fixmatch+cossl", **{"cossl.start": start})
    with pytest.raises(UserError, match=r"cossl\.start: .* one of them has none of the 12 steps; give .* from 1 to 11"):
        Trainer(config, datasets.load(config.dataset), torch.device("cpu"))


@pytest.mark.parametrize("name", ["cadr+cossl", "fixmatch+saw+adsh+cossl"])
def test_sums_train(name):
    assert [finding.problem for finding in check_method(name, only=("training",))] == [""]


@pytest.mark.parametrize("other", ["daso", "abc", "crest", "darp"])
def test_sums_that_mean_nothing_are_refused(other):
    with pytest.raises(UserError, match="do not combine"):
        find(f"fixmatch+{other}+cossl")
