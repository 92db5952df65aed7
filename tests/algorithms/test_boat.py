"""BOAT against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.contract import Outputs
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method

VIEWS = {"labeled": 3, "weak": 6, "strong": 6, "strong2": 6}  # rows
PI = np.array([6, 4, 2, 1]) / 13


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


class Literal:
    """The authors' loop, row after row."""

    def __init__(self, emap, tau, tau2, tau3, tau4, tw, confidence):
        self.emap, self.tau, self.tau2, self.tau3, self.tau4 = emap, tau, tau2, tau3, tau4
        self.tw, self.theta = tw, confidence
        self.qhat, self.qbal, self.confm, self.simm = np.full(4, 0.25), np.full(4, 0.25), 0.1, 0.1

    def step(self, a, b, y):
        """Losses L_xa, L_xb, L_ua, L_ub and the weights."""
        U = len(a["weak"])
        self.qhat = self.emap * self.qhat + (1 - self.emap) * np.mean([softmax(w) for w in a["weak"]], 0)
        self.qbal = self.emap * self.qbal + (1 - self.emap) * np.mean([softmax(w) for w in b["weak"]], 0)
        p = [softmax(w) for w in a["weak"]]
        p2 = [softmax(w - self.tau * np.log(self.qhat)) for w in a["weak"]]
        g = [max(softmax(w / self.tw) * softmax((w - self.tau4 * np.log(self.qhat)) / self.tw)) for w in a["weak"]]
        self.confm = 0.9 * self.confm + 0.1 * np.mean([max(row) for row in p2])
        self.simm = 0.9 * self.simm + 0.1 * np.mean(g)
        losses = [0.0] * 4
        for i, c in enumerate(y):
            adjusted = a["labeled"][i] + self.tau3 * (np.log(PI) - np.log(self.qbal))
            losses[0] -= np.log(softmax(adjusted)[c]) / len(y)
            losses[1] -= np.log(softmax(b["labeled"][i] + np.log(PI**self.tau2 + 1e-12))[c]) / len(y)
        weights = [g[u] * self.confm / self.simm for u in range(U)]
        for view in ("strong", "strong2"):
            for u in range(U):
                losses[2] -= (max(p[u]) >= self.theta) * np.log(softmax(a[view][u])[np.argmax(p[u])]) / (2 * U)
                losses[3] -= weights[u] * np.log(softmax(b[view][u])[np.argmax(p2[u])]) / (2 * U)
        return losses, weights


@pytest.mark.parametrize("changes", [{}, {"tau": 2.0, "tau3": 0.5, "tw": 1.5}, {"tau4": 0.0, "tau2": 1.0}], ids=str)
def test_equals_literal_loops(changes):
    random, C = np.random.default_rng(0), 4
    settings = {"emap": 0.8, "tau": 1.0, "tau2": 2.0, "tau3": 2.0, "tau4": 1.0, "tw": 1.0, "confidence": 0.6}
    settings |= changes
    method, literal = make_method("boat", **settings), Literal(**settings)
    facts = make_facts(classes=C, labeled_counts=[6, 4, 2, 1], dtype=torch.float64)
    state = method.state(facts)
    for number in range(4):
        a, b = ({v: 2 * random.normal(size=(rows, C)) for v, rows in VIEWS.items()} for _ in range(2))
        y = random.integers(0, C, VIEWS["labeled"])
        outputs = {v: Outputs(torch.from_numpy(a[v]), heads={"balanced": torch.from_numpy(b[v])}) for v in a}
        step = CannedStep(method, facts, outputs, torch.from_numpy(y), state=state, number=number)
        losses = step.run()
        expected, weights = literal.step(a, b, y)
        found = [*losses.labeled.values(), *losses.unlabeled.values()]
        assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-9)
        np.testing.assert_allclose(losses.pseudo.weights, weights, rtol=1e-9)
        state = step.after
        np.testing.assert_allclose(state["plain_prior"], literal.qhat)
        np.testing.assert_allclose(state["balanced_prior"], literal.qbal)
        assert state["mean_confidence"].item() == pytest.approx(literal.confm)
        assert state["mean_agreement"].item() == pytest.approx(literal.simm)


def test_predictions_are_adjusted_by_the_prior_of_training():
    method = make_method("boat", tau_b=1.0)
    outputs = Outputs(torch.zeros(1, 2), heads={"balanced": torch.tensor([[0.1, 0.0]])})
    scores = method.predict(outputs, {"balanced_prior": torch.tensor([0.8, 0.2])})
    assert scores[0].tolist() == pytest.approx([0.1 - np.log(0.8), -np.log(0.2)])


@pytest.mark.parametrize("tau3", [0.0, 2.0])
def test_a_class_without_labels_leaves_losses_and_gradients_finite(tau3):
    method = make_method("boat", tau3=tau3)
    facts = make_facts(classes=3, labeled_counts=[2, 1, 0], dtype=torch.float64)
    leaves = {view: torch.randn(rows, 3, dtype=torch.float64, requires_grad=True) for view, rows in VIEWS.items()}
    outputs = {view: Outputs(leaf, heads={"balanced": leaf}) for view, leaf in leaves.items()}
    losses = CannedStep(method, facts, outputs, torch.tensor([0, 1, 0])).run()
    losses.total.backward()
    assert losses.total.isfinite() and leaves["labeled"].grad.isfinite().all()


def test_no_add_on_finds_a_place_that_is_none():
    for add_on in ("cap", "cai", "darp", "abc", "prg"):
        with pytest.raises(UserError, match="BOAT and .* do not combine"):
            make_method(f"boat+{add_on}")
