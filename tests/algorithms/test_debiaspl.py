"""DebiasPL against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.contract import Outputs
from cissl.algorithms.debiaspl.debiasing import group_loss, log_bias
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def cross_entropy(row, c):
    return -np.log(softmax(row)[c])


def literal_cld(strong, weak):
    groups = [int(np.argmin(row)) for row in weak]
    loss = 0.0
    for row, group in zip(strong, groups, strict=True):
        scores = []
        for g in range(len(row)):
            members = [w for w, other in zip(weak, groups, strict=True) if other == g]
            centroid = sum(members) / len(members) if members else np.zeros(len(row))
            scores.append((row * centroid).sum() / 0.07)
        loss += cross_entropy(np.array(scores), group) / len(strong)
    return loss


class Literal:
    """The authors' training step, row after row."""

    def __init__(self, classes, tau, m, threshold):
        self.q, self.tau, self.m, self.threshold = np.full(classes, 1 / classes), tau, m, threshold

    def label(self, row):
        p = softmax(row - self.tau * np.log(np.maximum(self.q, 1e-38)))
        return int(np.argmax(p)), bool(p.max() >= self.threshold)

    def step(self, weak, strong):
        """L_u, L_cld and the labels of (the mean of) the weak views; `weak` and `strong` are lists of views."""
        U, mean = len(weak[0]), sum(weak) / len(weak)
        sets = [[self.label(row) for row in view] for view in ([mean, *weak] if len(weak) > 1 else weak)]
        probabilities = [softmax(row) for row in mean]
        self.q = self.m * self.q + (1 - self.m) * sum(probabilities) / U
        margin = self.tau * np.log(np.maximum(self.q, 1e-38))
        L_u = 0.0
        for labels in sets:
            for view in strong:
                for u, (label, kept) in enumerate(labels):
                    L_u += kept * cross_entropy(view[u] + margin, label) / (len(sets) * len(strong) * U)
        compared = sum(strong) / len(strong) if len(strong) > 1 else strong[0] + margin
        return L_u, literal_cld([softmax(row) for row in compared], probabilities), sets[0]


@pytest.mark.parametrize("start", ["even", "vanishing"])
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("tau, m", [(1.0, 0.9), (0.4, 0.0)])
def test_steps_equal_literal_loops(tau, m, two, start):
    random, C, B, U = np.random.default_rng(3), 5, 4, 9
    settings = {"tau": tau, "qhat_m": m, "multiviews": two, "confidence": 0.6, "wu": 10.0, "lambda_cld": 0.3}
    method, facts = make_method("debiaspl", **settings), make_facts(classes=C, dtype=torch.float64)
    literal, state = Literal(C, tau, m, 0.6), method.state(facts)
    if start == "vanishing":
        literal.q = np.array([0.0, 1e-40, 0.2, 0.3, 0.5])
        state |= {"qhat": torch.from_numpy(literal.q)}
    for number in range(4):
        views = {view: 3 * random.normal(size=(B if view == "labeled" else U, C)) for view in method.views}
        if number == 2:
            views["weak"][:] = views["weak"][0]  # all rows in one group
        y = random.integers(0, C, B)
        leaves = {view: torch.from_numpy(rows).requires_grad_() for view, rows in views.items()}
        step = CannedStep(method, facts, leaves, torch.from_numpy(y), state=state, number=number)
        losses = step.run()
        losses.total.backward()
        sides = ([views[name] for name in views if name.startswith(side)] for side in ("weak", "strong"))
        L_u, L_cld, labels = literal.step(*sides)
        L_x = np.mean([cross_entropy(row, c) for row, c in zip(views["labeled"], y, strict=True)])
        assert losses.labeled_sum.item() == pytest.approx(L_x, rel=1e-12)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(L_u, rel=1e-9)
        assert losses.unlabeled["cld"].item() == pytest.approx(L_cld, rel=1e-9)
        assert losses.total.item() == pytest.approx(L_x + 10 * L_u + 0.3 * L_cld, rel=1e-9)
        assert list(zip(losses.pseudo.classes.tolist(), losses.pseudo.weights.tolist(), strict=True)) == labels
        assert all(leaves[name].grad is None for name in views if name.startswith("weak"))
        state = step.after
        np.testing.assert_allclose(state["qhat"], literal.q, rtol=1e-12)


def test_labels_take_the_old_mean_and_the_margin_takes_the_new_one():
    method, facts = make_method("debiaspl", tau=1.0, qhat_m=0.0, confidence=0.0), make_facts(classes=2)
    weak = torch.tensor([[2.0, 0.0]])
    step = CannedStep(method, facts, dict.fromkeys(method.views, weak), torch.tensor([0]))
    losses = step.run()
    assert losses.pseudo.classes.tolist() == [0]  # by the new mean both classes would be equal
    new = weak.softmax(1)[0]
    assert torch.equal(step.after["qhat"], new)
    expected = torch.nn.functional.cross_entropy(weak + new.log(), torch.tensor([0]))
    assert losses.unlabeled["unlabeled"].item() == pytest.approx(expected.item())


def test_a_mean_of_zero_gives_a_large_and_finite_bias():
    bias = log_bias(torch.tensor([0.0, 1e-30, 1.0]), 1.0)
    assert bias.tolist() == pytest.approx([-87.498, -69.078, 0.0], abs=1e-3)


def test_empty_groups_have_a_centroid_of_zeros():
    weak = torch.tensor([[0.1, 0.3, 0.6], [0.2, 0.3, 0.5]], dtype=torch.float64)
    strong = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=torch.float64)
    assert group_loss(strong, weak).item() == pytest.approx(literal_cld(strong.numpy(), weak.numpy()))


def test_the_averaged_network_may_see_the_weak_views():
    class WithImages(CannedStep):
        def view(self, name):
            assert name == "weak"
            return torch.zeros(1, 3, 8, 8)

    method, facts = make_method("debiaspl", eman=True, confidence=0.0), make_facts(classes=3)
    seen = Outputs(torch.tensor([[0.0, 5.0, 0.0]]))
    logits = {name: torch.zeros(1, 3) for name in ("labeled", "strong")}
    step = WithImages(method, facts, logits, torch.tensor([0]), networks=[seen])
    assert step.run().pseudo.classes.tolist() == [1]


def test_an_add_on_beside_two_views_is_refused():
    method, logits = make_method("debiaspl+abc", multiviews=True), torch.zeros(1, 2)
    step = CannedStep(method, make_facts(classes=2), dict.fromkeys(method.views, logits), torch.tensor([0]))
    with pytest.raises(UserError, match="multiviews: true and ABC do not combine"):
        step.run()
