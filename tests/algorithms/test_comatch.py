"""CoMatch against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method

SETTINGS = dict(temperature=0.3, contrast_th=0.4, alpha=0.7, confidence=0.5, queue_batch=2, da_len=3, low_dim=4)


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def unit(random, *shape):
    rows = random.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def literal_step(number, w, s0, g, y, memory, classes, pointer, means):
    """One step row after row; returns losses, mask, mean number of links, and the new state."""
    U, C = w.shape
    P = np.array([softmax(row) for row in w])
    means = [*means, P.mean(0)][-3:]
    P = np.array([p / np.mean(means, axis=0) for p in P])
    P0 = P = np.array([p / p.sum() for p in P])
    if number > 2:
        smoothed = []
        for u in range(U):
            A = softmax(np.array([g["weak"][u] @ row for row in memory]) / 0.3)
            smoothed.append(0.7 * P[u] + 0.3 * sum(a * row for a, row in zip(A, classes, strict=True)))
        P = np.array(smoothed)
    mask = [max(p) >= 0.5 for p in P]
    L_u = np.mean([m * -(p * np.log(softmax(z))).sum() for m, p, z in zip(mask, P, s0, strict=True)])
    W = np.array([[1.0 if u == j else P[u] @ P[j] for j in range(U)] for u in range(U)])
    W[W < 0.4] = 0
    L_c = 0.0
    for u in range(U):
        similarity = softmax(np.array([g["strong"][u] @ g["strong2"][j] for j in range(U)]) / 0.3)
        L_c -= sum(W[u, j] / W[u].sum() * np.log(similarity[j] + 1e-7) for j in range(U)) / U
    memory, classes = memory.copy(), classes.copy()
    for row, label in zip([*g["weak"], *g["labeled"]], [*P0, *np.eye(C)[y]], strict=True):
        memory[pointer], classes[pointer] = row, label
        pointer = (pointer + 1) % len(memory)
    return L_u, L_c, mask, (W > 0).sum(1).mean(), memory, classes, pointer, means


@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_loops(seed):
    random, t = np.random.default_rng(seed), torch.from_numpy
    B, C, d = 3, 4, 4
    U = 2 * B
    method = make_method("comatch", uratio=2, wu=0.5, lam_c=2.0, **SETTINGS)
    facts = make_facts(classes=C, batch=B, steps=10, dtype=torch.float64)
    state, kept = method.state(facts), 0
    memory, classes, pointer, means = np.zeros((2 * (B + U), d)), np.zeros((2 * (B + U), C)), 0, []
    for number in range(7):
        logits = {view: 2 * random.normal(size=(B if view == "labeled" else U, C)) for view in method.views}
        g = {view: unit(random, len(rows), d) for view, rows in logits.items()}
        y = random.integers(0, C, B)
        outputs = {view: Outputs(t(rows), heads={"projection": t(g[view])}) for view, rows in logits.items()}
        step = CannedStep(method, facts, outputs, t(y), state=state, number=number)
        losses = step.run()
        L_u, L_c, mask, edges, memory, classes, pointer, means = literal_step(
            number, logits["weak"], logits["strong"], g, y, memory, classes, pointer, means
        )
        state = step.after
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(L_u, rel=1e-12)
        assert losses.unlabeled["contrast"].item() == pytest.approx(L_c, rel=1e-12)
        assert losses.total.item() == pytest.approx(losses.labeled_sum.item() + 0.5 * L_u + 2 * L_c)
        assert losses.pseudo.weights.tolist() == mask
        assert step.measured["edges"].item() == pytest.approx(edges)
        np.testing.assert_allclose(state["memory"], memory)
        np.testing.assert_allclose(state["memory_classes"], classes)
        kept += sum(mask)
    assert 0 < kept < 7 * U


def test_probabilities_of_zero_leave_the_loss_finite():
    method = make_method("comatch", uratio=1, **SETTINGS)
    facts = make_facts(classes=3, batch=4)
    certain = torch.tensor([[200.0, -200.0, -200.0]] * 4)  # in float32 the other classes have probability 0
    vectors = torch.nn.functional.normalize(torch.ones(4, 4), dim=1)
    outputs = dict.fromkeys(method.views, Outputs(certain, heads={"projection": vectors}))
    step = CannedStep(method, facts, outputs, torch.zeros(4, dtype=torch.int64), number=5)
    losses = step.run()
    assert math.isfinite(losses.total)
    # An empty memory leaves the prediction its share alone, and what is linked is linked to everything.
    assert losses.pseudo.probabilities[0].tolist() == pytest.approx([0.7, 0, 0])
    assert step.measured["edges"].item() == 4


def test_rows_without_a_pseudo_label_are_in_the_contrastive_loss_too():
    method = make_method("comatch", uratio=1, **SETTINGS | {"confidence": 1.0})
    facts = make_facts(classes=3, batch=4, dtype=torch.float64)
    torch.manual_seed(0)
    leaves = {view: torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for view in method.views}
    outputs = {
        view: Outputs(torch.randn(4, 3, dtype=torch.float64), heads={"projection": leaf})
        for view, leaf in leaves.items()
    }
    losses = CannedStep(method, facts, outputs, torch.zeros(4, dtype=torch.int64)).run()
    losses.total.backward()
    assert not losses.pseudo.weights.any() and losses.unlabeled["unlabeled"] == 0
    assert all(leaves[view].grad.abs().sum(1).min() > 0 for view in ("strong", "strong2"))
    assert leaves["weak"].grad is None and leaves["labeled"].grad is None
