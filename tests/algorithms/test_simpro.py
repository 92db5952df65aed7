"""SimPro against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method

VIEWS = {"labeled": "x", "labeled_strong": "x", "weak": "u", "strong": "u", "strong2": "u"}


def log_softmax(row):
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def adj(shares, tau):
    return np.log(shares**tau + 1e-12)


def literal_step(views, y, a, q, tau, threshold, r, seen, kept):
    """Losses, pseudo-labels and masks of one step; `seen` and `kept` are added to."""
    A, A_u, U = adj(a, tau), adj(q, tau), len(views["weak"])
    P = np.array([np.exp(log_softmax(row + A_u)) for row in views["weak"]])
    m = [max(row) >= threshold for row in P]
    for c in y:
        seen[c] += 1
    for u in range(U):
        kept += m[u] * P[u]
    labeled = sum(-log_softmax(views[v][i] + A)[y[i]] for v in ("labeled", "labeled_strong") for i in range(len(y)))
    unlabeled = sum(
        m[u] * -(P[u] * log_softmax(views[v][u] + A)).sum() for v in ("strong", "strong2") for u in range(U)
    )
    return labeled / (2 * len(y)) / r, unlabeled / (2 * U), P, m


@pytest.mark.parametrize("tau", [2.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_loops_over_epochs(seed, tau):
    random, C, B, U, length, e = np.random.default_rng(seed), 5, 3, 7, 2, 0.7
    counts = [6, 4, 2, 1, 0]  # the last class has no label, so that its adjustment is log 1e-12
    method = make_method("simpro", tau=tau, ema_u=e, epoch=length, confidence=0.6, uratio=3)
    facts = make_facts(classes=C, labeled_counts=counts, unlabeled=50, batch=4, steps=100, dtype=torch.float64)
    r = (50 // 12) / (13 // 4)
    a, q = np.array(counts) / 13, np.ones(C) / C
    state, seen, kept, total = method.state(facts), np.zeros(C), np.zeros(C), 0
    for number in range(7):
        if number and number % length == 0:
            q = e * q + (1 - e) * kept / (kept.sum() + 1)
            a = e * a + (1 - e) * (seen + kept) / (seen + kept).sum()
            seen, kept = np.zeros(C), np.zeros(C)
        state = {**state, **method.periodically(number, None, state, facts)}
        views = {v: 2 * random.normal(size=(B if kind == "x" else U, C)) for v, kind in VIEWS.items()}
        y = random.integers(0, C - 1, B)
        leaves = {view: torch.from_numpy(rows).requires_grad_() for view, rows in views.items()}
        step = CannedStep(method, facts, leaves, torch.from_numpy(y), state=state, number=number)
        losses = step.run()
        losses.total.backward()
        labeled, unlabeled, P, m = literal_step(views, y, a, q, tau, 0.6, r, seen, kept)
        assert losses.labeled_sum.item() == pytest.approx(labeled, rel=1e-9)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(unlabeled, rel=1e-9)
        np.testing.assert_allclose(losses.pseudo.probabilities, P, atol=1e-12)
        assert losses.pseudo.weights.tolist() == m and leaves["weak"].grad is None
        state, total = step.after, total + sum(m)
        np.testing.assert_allclose(state["training_shares"], a, atol=1e-12)
        np.testing.assert_allclose(state["unlabeled_shares"], q, atol=1e-12)
        assert state["labels_seen"].tolist() == seen.tolist()
    assert 0 < total < 7 * U


def test_an_epoch_without_a_pseudo_label_lowers_all_shares_alike():
    method = make_method("simpro", ema_u=0.9, epoch=1, confidence=1.0)
    facts = make_facts(classes=4, dtype=torch.float64)
    state = {**method.state(facts), "labels_seen": torch.tensor([1, 0, 0, 1])}
    after = method.periodically(1, None, state, facts)
    assert after["unlabeled_shares"].tolist() == pytest.approx([0.225] * 4)
    assert after["training_shares"].sum().item() == pytest.approx(1)


@pytest.mark.parametrize("unlabeled, labeled, expected", [(50_000, 72, 97), (50_000, 20, 97), (100, 4000, 1 / 62)])
def test_the_labeled_loss_is_divided_by_a_quotient_of_whole_batches(unlabeled, labeled, expected):
    method = make_method("simpro", uratio=8)
    facts = make_facts(classes=2, labeled_counts=[labeled, 0], unlabeled=unlabeled, batch=64)
    assert method.base.ratio(facts) == expected
    assert make_method("simpro", scale_ratio=2.5).base.ratio(facts) == 2.5


def test_rows_are_weighed_in_both_views():
    method, torch_rows = make_method("simpro"), torch.randn(3, 4, dtype=torch.float64)
    facts, targets = make_facts(classes=4, dtype=torch.float64), torch.tensor([0, 1, 3])
    outputs = {view: torch_rows for view in VIEWS}
    step = CannedStep(method, facts, outputs, targets)
    out = step.forward(*VIEWS)
    plain = method.base.supervised(step, out)
    assert torch.allclose(method.base.supervised(step, out, torch.full((3,), 2.0)), 2 * plain)


def test_it_makes_its_own_pseudo_labels():
    for add_on in ("darp", "cai", "prg"):
        with pytest.raises(UserError, match="SimPro and .* do not combine"):
            make_method(f"simpro+{add_on}")


def test_an_add_on_with_soft_labels_trains_the_adjusted_logits_too():
    losses = []
    for algorithm, settings in (("simpro", {}), ("simpro+crest", {"crest.temperature": 1.0})):
        method = make_method(algorithm, confidence=0.3, **settings)
        facts = make_facts(classes=3, labeled_counts=[9, 3, 1], dtype=torch.float64)
        torch.manual_seed(0)
        outputs = {view: torch.randn(4, 3, dtype=torch.float64) for view in VIEWS}
        losses.append(CannedStep(method, facts, outputs, torch.tensor([0, 1, 2, 0])).run().unlabeled["unlabeled"])
    assert losses[0] > 0 and torch.allclose(*losses)
