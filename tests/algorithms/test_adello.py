"""ADELLO against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.adello.target_distribution import exponent, unevenness
from cissl.testing import CannedStep, make_facts, make_method

COUNTS = np.array([6, 4, 2, 1])
FLAGS = np.array([True, False, False, True, False, False, False])


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


class Literal:
    """The authors' training step, row after row."""

    def __init__(self, steps, confidence, alpha_min, alpha_k, ema_p, exclude_labeled, start, temperature, inferred):
        self.steps, self.theta, self.alpha_min, self.k, self.m = steps, confidence, alpha_min, alpha_k, ema_p
        self.exclude, self.start, self.T, self.inferred, self.T0 = exclude_labeled, start, temperature, inferred, None
        self.q = np.ones(4) / 4

    def step(self, number, x, w, s, y, flags):
        """L_x, L_u, L_d (None before it begins), and the temperature."""
        pi, q = COUNTS / COUNTS.sum(), self.q
        alpha = 1 - (1 - self.alpha_min) * (number / self.steps) ** self.k
        g = q**alpha / (q**alpha).sum()
        A_x, A_u = np.log((pi + 1e-9) / (g + 1e-9)), np.log((q + 1e-9) / (g + 1e-9))
        L_x = np.mean([-np.log(softmax(row + A_x)[c]) for row, c in zip(x, y, strict=True)])
        p = [softmax(row) for row in w]
        counted = [row for row, flag in zip(p, flags, strict=True) if not (self.exclude and flag)]
        if counted:
            self.q = self.m * q + (1 - self.m) * np.mean(counted, 0)
        m = [max(row) >= self.theta for row in p]
        L_u = np.mean([m[u] * -np.log(softmax(s[u] + A_u)[np.argmax(p[u])]) for u in range(len(p))])
        if number < self.start:
            return L_x, L_u, None, None
        if self.inferred and self.T0 is None:
            self.T0 = math.exp(sum(0.25 * (math.log(0.25) - math.log(share)) for share in self.q))
        T, L_d = self.T0 if self.inferred else self.T, 0.0
        for u in range(len(p)):
            r = p[u] ** (1 / T) / (p[u] ** (1 / T)).sum()
            L_d -= (1 - m[u]) * (r * np.log(softmax((s[u] + A_u) / T))).sum() / len(p)
        return L_x, L_u, L_d, T


@pytest.mark.parametrize(
    "changes",
    [{}, {"distill_inferred": True}, {"distill_temperature": 2.0}, {"exclude_labeled": True, "alpha_k": 1.0}],
    ids=str,
)
def test_equals_literal_loops(changes):
    random, C, steps, start = np.random.default_rng(1), 4, 8, 3
    settings = {
        "confidence": 0.7,
        "alpha_min": 0.2,
        "alpha_k": 2.0,
        "ema_p": 0.6,
        "exclude_labeled": False,
        "distill_temperature": 1.0,
        "distill_inferred": False,
        **changes,
    }
    method = make_method("adello", wu=0.5, lambda_distill=0.7, distill_start=start, **settings)
    literal = Literal(steps, *list(settings.values())[:5], start, *list(settings.values())[5:])
    facts = make_facts(
        classes=C,
        labeled_counts=COUNTS,
        unlabeled=7,
        labeled_too=torch.from_numpy(FLAGS),
        steps=steps,
        dtype=torch.float64,
    )
    state = method.state(facts)
    for number in range(steps):
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (3, 7, 7))
        # In one step every image is a labeled one, so that nothing counts.
        y, index = random.integers(0, C, 3), np.arange(7) if number != 4 else np.zeros(7, dtype=int)
        leaves = {v: torch.from_numpy(rows).requires_grad_() for v, rows in zip(method.views, (x, w, s), strict=True)}
        positions = {"unlabeled": torch.from_numpy(index)}
        step = CannedStep(method, facts, leaves, torch.from_numpy(y), state=state, number=number, index=positions)
        losses = step.run()
        losses.total.backward()
        L_x, L_u, L_d, T = literal.step(number, x, w, s, y, FLAGS[index])
        assert losses.labeled_sum.item() == pytest.approx(L_x, rel=1e-9)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(L_u, rel=1e-9)
        assert ("distill" in losses.unlabeled) == (L_d is not None)
        if L_d is not None:
            assert losses.unlabeled["distill"].item() == pytest.approx(L_d, rel=1e-9)
            assert losses.total.item() == pytest.approx(L_x + 0.5 * L_u + 0.7 * L_d, rel=1e-9)
            assert float(method.base.temperature(step)) == pytest.approx(T)
        assert leaves["weak"].grad is None
        state = step.after
        np.testing.assert_allclose(state["unlabeled_shares"], literal.q)


def test_the_target_becomes_even_and_equal_shares_have_temperature_one():
    assert [exponent(progress, 0.1, 2.0) for progress in (0, 0.5, 1)] == pytest.approx([1, 0.775, 0.1])
    assert unevenness(torch.full((5,), 0.2, dtype=torch.float64)).item() == pytest.approx(1)
    assert unevenness(torch.tensor([0.8, 0.2])).item() > 1.2


def test_without_the_weight_of_its_second_loss_it_is_flexda():
    method = make_method("adello", lambda_distill=0.0, distill_start=0)
    facts, logits = make_facts(classes=3), torch.zeros(2, 3)
    step = CannedStep(method, facts, dict.fromkeys(method.views, logits), torch.tensor([0, 1]))
    losses = step.run()
    assert losses.unlabeled["distill"] > 0  # measured all the same
    torch.testing.assert_close(losses.total, losses.labeled_sum + losses.unlabeled["unlabeled"])


def test_an_add_on_decides_which_rows_are_left_for_the_second_loss():
    method = make_method("adello+cai", confidence=0.5, cai_beta=0.0, distill_start=0)
    facts = make_facts(classes=2, dtype=torch.float64)
    weak = torch.tensor([[4.0, 0.0], [0.0, 0.0]], dtype=torch.float64)  # CAI's threshold is strict
    step = CannedStep(method, facts, dict.fromkeys(method.views, weak), torch.tensor([0, 1]))
    losses = step.run()
    assert losses.pseudo.weights.tolist() == [True, False]
    assert losses.unlabeled["distill"].item() == pytest.approx(np.log(2) / 2)
