"""SoftMatch against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.softmatch.gaussian_weights import class_moments, row_weights
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row, temperature=1.0):
    row = row / temperature
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal_step(x, w, s, p, q, mean, variance, *, m, n_sigma, uniform, per_class, temperature):
    """One step, row after row; p is None before the first. Returns the loss, the weights and the new state."""
    U, C = w.shape
    P = np.array([softmax(row) for row in w])
    p = P.mean(0) if p is None else m * p + (1 - m) * P.mean(0)
    if not uniform:
        q = m * q + (1 - m) * np.mean([softmax(row) for row in x], axis=0)
    A = P * (q + 1e-6) / (p + 1e-6)
    A /= A.sum(1, keepdims=True)
    c, k = A.max(1), A.argmax(1)
    mean, variance = np.array(mean), np.array(variance)
    if per_class:
        for j in range(C):
            rows = c[k == j]
            several = len(rows) >= 2
            mean[j] = m * mean[j] + (1 - m) * (rows.mean() if several else 0)
            variance[j] = m * variance[j] + (1 - m) * (rows.var(ddof=1) if several else 1)
    else:
        mean, variance = m * mean + (1 - m) * c.mean(), m * variance + (1 - m) * c.var(ddof=1)
    weights, loss = [], 0.0
    for i in range(U):
        mu, v = (mean[k[i]], variance[k[i]]) if per_class else (mean, variance)
        weights.append(math.exp(-(min(c[i] - mu, 0) ** 2) / (2 * v / n_sigma**2)))
        target = softmax(w[i], temperature) if temperature else np.eye(C)[w[i].argmax()]
        loss += weights[i] * -(target * np.log(softmax(s[i]))).sum() / U
    return loss, weights, p, q, mean, variance


OPTIONS = [
    {"uniform": True, "per_class": False, "temperature": 0.0},
    {"uniform": False, "per_class": False, "temperature": 0.0},
    {"uniform": True, "per_class": True, "temperature": 0.0},
    {"uniform": False, "per_class": True, "temperature": 0.4},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_loops(seed, options):
    random = np.random.default_rng(seed)
    B, U, C = 4, 9, 5
    method = make_method(
        "softmatch",
        ema_p=0.7,
        n_sigma=1.5,
        wu=0.5,
        dist_uniform=options["uniform"],
        per_class=options["per_class"],
        temperature=options["temperature"],
    )
    facts = make_facts(classes=C, dtype=torch.float64)
    shape = (C,) if options["per_class"] else ()
    state, p, q = method.state(facts), None, np.full(C, 1 / C)
    mean, variance = np.full(shape, 1 / C), np.ones(shape)
    disagree = 0
    for number in range(5):
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (B, U, U))
        targets = torch.from_numpy(random.integers(0, C, B))
        outputs = {view: torch.from_numpy(v) for view, v in (("labeled", x), ("weak", w), ("strong", s))}
        step = CannedStep(method, facts, outputs, targets, state=state, number=number)
        losses = step.run()
        loss, weights, p, q, mean, variance = literal_step(x, w, s, p, q, mean, variance, m=0.7, n_sigma=1.5, **options)
        state = step.after
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss, rel=1e-12)
        assert losses.pseudo.weights.tolist() == pytest.approx(weights, rel=1e-12)
        for name, expected in (("p_model", p), ("p_target", q)):
            assert state[name].tolist() == pytest.approx(expected)
        assert state["confidence_mean"].numpy() == pytest.approx(mean)
        assert state["confidence_variance"].numpy() == pytest.approx(variance)
        disagree += (step.shared["aligned"].argmax(1) != losses.pseudo.classes).sum().item()
    assert disagree  # the label is that of the predictions as they are


def test_the_first_batch_sets_the_mean_whatever_step_it_is():
    method, facts = make_method("softmatch"), make_facts(classes=3)
    outputs = {"labeled": torch.zeros(2, 3), "weak": torch.randn(6, 3), "strong": torch.zeros(6, 3)}
    step = CannedStep(method, facts, outputs, torch.tensor([0, 1]), number=7)
    step.run()
    assert torch.equal(step.next["p_model"], outputs["weak"].softmax(1).mean(0))


def test_equal_confidences_weigh_1_though_their_variance_has_decayed_to_nothing():
    confidences = torch.full((4,), 0.5)
    assert row_weights(confidences, torch.tensor(0.5), torch.tensor(0.0), 2.0).tolist() == [1.0] * 4
    assert row_weights(confidences, torch.tensor(0.9), torch.tensor(0.0), 2.0).tolist() == [0.0] * 4


def test_a_class_with_fewer_than_two_rows_counts_as_mean_0_and_variance_1():
    mean, variance = class_moments(torch.tensor([0.9, 0.5, 0.7]), torch.tensor([2, 0, 2]), 4)
    assert mean.tolist() == pytest.approx([0, 0, 0.8, 0])
    assert variance.tolist() == pytest.approx([1, 1, 0.02, 1])


def test_one_unlabeled_image_a_step_has_no_variance():
    method = make_method("softmatch", uratio=1)
    with pytest.raises(UserError, match="two unlabeled images"):
        method.state(make_facts(classes=3, batch=1))
    assert method.state(make_facts(classes=3, batch=2))


@pytest.mark.parametrize("other", ["cai", "darp"])
def test_its_own_alignment_and_weights_leave_no_place_for_others(other):
    with pytest.raises(UserError, match="SoftMatch and .* do not combine"):
        make_method(f"softmatch+{other}")
    assert make_method("softmatch+cap").recipe.name == "softmatch+cap"
