"""SimMatch against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.contract import Outputs
from cissl.algorithms.simmatch.similarity import instance_targets
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def unit(random, *shape):
    rows = random.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def literal_step(w, s, g_w, g_s, g_x, index, y, M, labels, queue, started, norm):
    """One step of the variant usb with tt 0.2, st 0.3, c_smooth 0.8, threshold 0.5, momentum 0.7."""
    (U, C), K = w.shape, len(M)
    P = [softmax(row) for row in w]
    queue = [*queue[1:], np.mean(P, axis=0)]
    model = np.mean(queue, axis=0)
    P = [p * (1 / C + 1e-6) / (model + 1e-6) for p in P]
    P = [p / p.sum() for p in P]
    t, L_in = P, 0.0
    if started:
        t = []
        for u in range(U):
            S = softmax(np.array([g_w[u] @ M[k] for k in range(K)]) / 0.2)
            strong = softmax(np.array([g_s[u] @ M[k] for k in range(K)]) / 0.3)
            target = np.array([S[k] * P[u][labels[k]] for k in range(K)])
            L_in -= (target / target.sum() * np.log(strong)).sum() / U
            A = np.array([sum(S[k] for k in range(K) if labels[k] == c) for c in range(C)])
            t.append(0.8 * P[u] + 0.2 * A)
    L_u = np.mean([(max(t[u]) >= 0.5) * -(t[u] * np.log(softmax(s[u]))).sum() for u in range(U)])
    V = 0.7 * M[index] + 0.3 * g_x
    V = V / np.linalg.norm(V, axis=0 if norm == "batch" else 1, keepdims=True)
    M, labels = M.copy(), labels.copy()
    for row, i in enumerate(index):  # the later of two rows counts
        M[i], labels[i] = V[row], y[row]
    return L_u, L_in, [max(row) >= 0.5 for row in t], M, labels, queue


@pytest.mark.parametrize("norm", ["batch", "row"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_loops(seed, norm):
    random = np.random.default_rng(seed)
    B, U, C, K, d, L = 5, 7, 3, 6, 4, 3
    settings = dict(tt=0.2, st=0.3, c_smooth=0.8, confidence=0.5, da_len=L, proj_size=d, start=3, lambda_in=2.0, wu=0.5)
    method = make_method("simmatch", bank_norm=norm, **settings)
    facts = make_facts(classes=C, labeled_counts=[3, 2, 1], steps=10, dtype=torch.float64)
    M, labels, queue = unit(random, K, d), np.zeros(K, int), [np.zeros(C)] * L
    state, kept = method.state(facts), 0
    start = random.normal(size=(K, d)) * 3
    for number in range(7):
        if number == 0:
            M = start / np.linalg.norm(start, axis=1, keepdims=True)
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (B, U, U))
        g_x, g_w, g_s = (unit(random, rows, d) for rows in (B, U, U))
        index, y = random.integers(0, K, B), random.integers(0, C, B)  # an image may stand twice
        given = (("labeled", x, g_x), ("weak", w, g_w), ("strong", s, g_s))
        t = torch.from_numpy
        outputs = {view: Outputs(t(logits), heads={"projection": t(g)}) for view, logits, g in given}
        draws = {"bank": [t(start)]}
        step = CannedStep(
            method, facts, outputs, t(y), state=state, number=number, index={"labeled": t(index)}, draws=draws
        )
        losses = step.run()
        L_u, L_in, mask, M, labels, queue = literal_step(
            w, s, g_w, g_s, g_x, index, y, M, labels, queue, number >= 3, norm
        )
        state = step.after
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(L_u, rel=1e-12)
        assert losses.unlabeled["instance"].item() == pytest.approx(L_in, rel=1e-12)
        assert losses.total.item() == pytest.approx(losses.labeled_sum.item() + 0.5 * L_u + 2 * L_in)
        assert losses.pseudo.weights.tolist() == mask
        np.testing.assert_allclose(state["bank"], M)
        np.testing.assert_allclose(state["predictions"], queue)
        assert state["bank_classes"].tolist() == labels.tolist()
        kept += sum(mask)
    assert 0 < kept < 7 * U


@pytest.mark.parametrize("variant", ["usb", "authors"])
def test_probabilities_of_zero_leave_the_loss_finite(variant):
    method = make_method("simmatch", variant=variant, proj_size=2, da_len=2, start=0)
    facts = make_facts(classes=3)
    certain = torch.tensor([[200.0, -200.0, -200.0]] * 4)  # in float32 the other classes have probability 0
    vectors = torch.nn.functional.normalize(torch.ones(4, 2), dim=1)
    outputs = Outputs(certain, heads={"projection": vectors})
    step = CannedStep(
        method,
        facts,
        dict.fromkeys(("labeled", "weak", "strong"), outputs),
        torch.zeros(4, dtype=torch.int64),
        state=method.state(facts) | {"bank_classes": torch.tensor([1, 2, 2])},
        number=1,
        index={"labeled": torch.tensor([0, 1, 2, 2])},
        networks=[Outputs(certain.repeat(2, 1), heads={"projection": vectors.repeat(2, 1)})],
    )
    assert math.isfinite(step.run().total)
    targets = instance_targets(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]), torch.tensor([1, 1]))
    assert targets.tolist() == [[0.0, 0.0]]


def test_settings_that_are_not_given_are_the_variants():
    usb, authors = (make_method("simmatch", variant=variant).base.settings for variant in ("usb", "authors"))
    assert (usb.momentum, usb.norm) == (0.7, "batch") and (authors.momentum, authors.norm) == (0.0, "row")
    given = make_method("simmatch", variant="usb", bank_momentum=0.0, bank_norm="row").base.settings
    assert (given.momentum, given.norm) == (0.0, "row")


def test_an_add_on_that_needs_the_weak_views_gradient_is_refused_where_there_is_none():
    facts = make_facts(classes=3)
    make_method("simmatch+cap").state(facts)
    with pytest.raises(UserError, match="SimMatch and CAP do not combine with variant: authors"):
        make_method("simmatch+cap", variant="authors").state(facts)
