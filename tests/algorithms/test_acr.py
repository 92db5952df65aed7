"""ACR against loops written from its description."""

import types

import numpy as np
import pytest
import torch

from cissl.algorithms.acr.anchors import divergences, present, strength
from cissl.algorithms.contract import Outputs
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method

VIEWS = {"labeled": 3, "weak": 8, "strong": 8, "strong2": 8}  # rows


def log_softmax(row):
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def adj(shares, t):
    return np.log(shares**t + 1e-12)


class Literal:
    """The authors' loop, row after row."""

    def __init__(self, pi, length, tau1=2.0, tau12=2.0, tau2=2.0, T=1.0, theta=0.95, ema=0.99, est_epoch=5):
        self.pi, self.length, self.tau1, self.tau12, self.tau2 = pi, length, tau1, tau12, tau2
        self.T, self.theta, self.ema, self.est_epoch = T, theta, ema, est_epoch
        self.q, self.K, self.tau = np.ones(len(pi)) / len(pi), np.zeros(3), tau1

    def conf(self, row):
        return np.exp(log_softmax(row / self.T)).max() >= self.theta

    def epoch_start(self, e):
        if e > self.est_epoch:
            K = np.exp(self.K / self.length)
            tau = self.tau1 * K[0] / K.sum()
            self.tau = self.tau if np.isnan(tau) else tau
        self.K = np.zeros(3)

    def step(self, a, b, y, excluded, e):
        """Losses L_xa, L_xb, L_ua, L_ub, and the labels and masks of both heads."""
        U, A1, A12, A2 = len(a["weak"]), adj(self.pi, self.tau), adj(self.pi, self.tau12), adj(self.pi, self.tau2)
        losses = [0.0] * 4
        for i, c in enumerate(y):
            losses[0] -= log_softmax(a["labeled"][i])[c] / len(y)
            losses[1] -= log_softmax(b["labeled"][i] + A2)[c] / len(y)
        labels, v = [], np.zeros(len(self.pi))
        for u in range(U):
            w_a, w_b = a["weak"][u], b["weak"][u]
            t1, t12 = np.argmax(w_a - A1), np.argmax(w_a - A12)
            m_a, m_b = self.conf(w_a - A1) or self.conf(w_a), self.conf(w_b) or self.conf(w_a - A12)
            labels.append((t1, m_a, t12, m_b))
            v[np.argmax(w_b)] = 1 if self.conf(w_b) and not excluded[u] else 0
            for view in ("strong", "strong2"):
                losses[2] -= m_a * log_softmax(a[view][u])[t1] / (2 * U)
                losses[3] -= m_b * log_softmax(b[view][u])[t12] / (2 * U)
        if e > self.est_epoch and v.sum() > 0:
            self.q = self.ema * self.q + (1 - self.ema) * v / v.sum()
            uniform = np.ones(len(v)) / len(v)
            for i, r in enumerate((self.pi, uniform, self.pi[::-1])):
                self.K[i] += 0.5 * (self.q * np.log(self.q / r)).sum() + 0.5 * (r * np.log(r / self.q)).sum()
        return losses, labels


def step_of(method, facts, a, b, y, state, number):
    outputs = {
        v: Outputs(torch.from_numpy(a[v]), heads={"balanced": torch.from_numpy(b[v]).requires_grad_()}) for v in a
    }
    index = {"unlabeled": torch.arange(len(a["weak"]))}
    return CannedStep(method, facts, outputs, torch.from_numpy(y), state=state, number=number, index=index)


@pytest.mark.parametrize("settings", [{}, {"tau1": 1.5, "tau12": 0.5, "tau2": 1.0}, {"temperature": 0.5}], ids=str)
@pytest.mark.parametrize("est_epoch", [0, 1])
def test_equals_literal_loops_over_epochs(est_epoch, settings):
    random, C, length = np.random.default_rng(est_epoch), 4, 3
    excluded = np.array([False, True, False, False, True, False, False, False])
    given = {"confidence": 0.6, "ema_u": 0.7, "est_epoch": est_epoch, **settings}
    method = make_method("acr", epoch=length, **given)
    facts = make_facts(
        classes=C,
        labeled_counts=[6, 4, 2, 1],
        unlabeled=8,
        labeled_too=torch.from_numpy(excluded),
        steps=100,
        dtype=torch.float64,
    )
    names = {"confidence": "theta", "ema_u": "ema", "temperature": "T"}
    literal = Literal(np.array([6, 4, 2, 1]) / 13, length, **{names.get(k, k): value for k, value in given.items()})
    state, taus = method.state(facts), []
    for number in range(12):
        e = number // length
        if number % length == 0:
            literal.epoch_start(e)
        survey = types.SimpleNamespace(number=number, facts=facts)
        state = {**state, **method.periodically(number, survey, state, facts)}
        a, b = ({v: 2 * random.normal(size=(rows, C)) for v, rows in VIEWS.items()} for _ in range(2))
        y = random.integers(0, C, VIEWS["labeled"])
        step = step_of(method, facts, a, b, y, state, number)
        losses = step.run()
        expected, labels = literal.step(a, b, y, excluded, e)
        found = [*losses.labeled.values(), *losses.unlabeled.values()]
        assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-9)
        plain, balanced = step.shared["plain"], losses.pseudo
        rows = zip(plain.classes, plain.weights, balanced.classes, balanced.weights, strict=True)
        assert [tuple(value.item() for value in row) for row in rows] == labels
        state = step.after
        np.testing.assert_allclose(state["unlabeled_shares"], literal.q, atol=1e-12)
        np.testing.assert_allclose(state["divergences"], literal.K, atol=1e-12)
        assert state["tau"].item() == pytest.approx(literal.tau)
        taus.append(round(literal.tau, 6))
    first = literal.tau1 / 3  # nothing has been estimated before the first epoch that asks
    assert taus[(est_epoch + 1) * length] == pytest.approx(first, abs=1e-6) and len(set(taus)) >= 3


def test_the_last_row_of_a_class_decides_whether_it_counts():
    classes = torch.tensor([0, 1, 0, 2, 2])
    counted = torch.tensor([True, True, False, False, True])
    assert present(classes, counted, 4).tolist() == [0, 0.5, 0.5, 0]
    assert present(classes, torch.zeros(5, dtype=torch.bool), 4).tolist() == [0, 0, 0, 0]


def test_a_class_without_labels_leaves_tau_as_it_is():
    method = make_method("acr", epoch=1, est_epoch=0)
    facts = make_facts(classes=3, labeled_counts=[2, 1, 0], dtype=torch.float64)
    state, shares = method.state(facts), torch.tensor([2.0, 1.0, 0.0]).double() / 3
    K = divergences(state["unlabeled_shares"], shares)
    assert not K[[0, 2]].isfinite().any() and strength(K, 2.0).isnan()
    state |= {"divergences": K, "tau": torch.tensor(1.7, dtype=torch.float64)}
    after = method.periodically(1, types.SimpleNamespace(number=1, facts=facts), state, facts)
    assert after["tau"].item() == 1.7 and after["divergences"].tolist() == [0, 0, 0]


def test_the_balanced_head_predicts_and_no_add_on_finds_a_place_that_is_none():
    method, head = make_method("acr"), torch.randn(2, 3)
    assert method.predict(Outputs(torch.randn(2, 3), heads={"balanced": head}), {}) is head
    for add_on in ("cap", "cai", "darp", "abc", "prg"):
        with pytest.raises(UserError, match="ACR and .* do not combine"):
            make_method(f"acr+{add_on}")
