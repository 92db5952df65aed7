"""TRAS against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.cards import find
from cissl.algorithms.contract import Outputs
from cissl.algorithms.tras.transfer import adjusted, strengths
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import with_two_strong_views


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def cross_entropy(row, c):
    return -np.log(softmax(row)[c])


def literal_losses(h1, h2, y, counts, A, B, tro, tau):
    """L_x, L_u, L_2x, L_2u, and the labels of the first head; strong views are those whose names begin so."""
    a = np.log((counts / counts.sum()) ** tro + 1e-12)
    k = A * softmax(-a) + B
    L_x = np.mean([cross_entropy(row, c) for row, c in zip(h1["labeled"], y, strict=True)])
    L_2x = np.mean([cross_entropy(row + a, c) for row, c in zip(h2["labeled"], y, strict=True)])
    views, labels, L_u, L_2u = [name for name in h1 if name.startswith("strong")], [], 0.0, 0.0
    U = len(h1["weak"])
    for u in range(U):
        P, Q = softmax(h1["weak"][u] - a), softmax(h2["weak"][u])
        label, l_j = int(np.argmax(P)), int(np.argmax(Q))
        labels.append((label, bool(max(P) >= tau)))
        for view in views:
            L_u += (max(P) >= tau) * cross_entropy(h1[view][u], label) / (len(views) * U)
            t = softmax((h1[view][u] - k[l_j] * a) / 2)
            L_2u -= (max(Q) >= tau) * (t * np.log(softmax(h2[view][u]))).sum() / (len(views) * U)
    return (L_x, L_u, L_2x, L_2u), labels


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(
    "counts, A, B, tro", [([8, 4, 2, 1], 2, 2, 1.0), ([5, 0, 3, 9], 1, 3, 0.5), ([2, 2, 2, 2], 0, 1, 1.0)]
)
def test_equals_literal_loops(counts, A, B, tro, views):
    random, C, B_rows, U, tau = np.random.default_rng(5), 4, 5, 9, 0.6
    settings = {"tras.A": A, "tras.B": B, "tras.tro": tro, "tras.confidence": tau, "tras.warmup": 3}
    method = make_method("fixmatch+tras", confidence=tau, wu=0.5, **settings)
    if views == 2:
        with_two_strong_views(method)
    facts = make_facts(classes=C, labeled_counts=counts, steps=100, dtype=torch.float64)
    h1, h2 = (
        {view: 3 * random.normal(size=(B_rows if view == "labeled" else U, C)) for view in method.views}
        for _ in range(2)
    )
    y = random.integers(0, C, B_rows)
    first, second = ({view: torch.from_numpy(rows).requires_grad_() for view, rows in h.items()} for h in (h1, h2))
    outputs = {view: Outputs(first[view], heads={"tras": second[view]}) for view in first}
    step = CannedStep(method, facts, outputs, torch.from_numpy(y), number=3)
    losses = step.run()
    losses.total.backward()
    expected, labels = literal_losses(h1, h2, y, np.array(counts), A, B, tro, tau)
    found = [losses.labeled_sum, *(losses.unlabeled[name] for name in ("unlabeled", "tras.labeled", "tras.unlabeled"))]
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-9)
    total = expected[0] + 0.5 * expected[1] + expected[2] + expected[3]
    assert losses.total.item() == pytest.approx(total, rel=1e-9)
    assert list(zip(losses.pseudo.classes.tolist(), losses.pseudo.weights.tolist(), strict=True)) == labels
    assert first["weak"].grad is None and second["weak"].grad is None
    # The first head's logits are targets of the second one, not taught by it.
    only = torch.nn.functional.cross_entropy(first["strong"], losses.pseudo.classes, reduction="none")
    (expected_grad,) = torch.autograd.grad((only * losses.pseudo.weights).mean() * 0.5 / views, first["strong"])
    torch.testing.assert_close(first["strong"].grad, expected_grad)


def test_the_second_head_waits_for_the_end_of_the_warm_up_and_then_predicts():
    method, facts = make_method("tras", **{"tras.warmup": 0.022}), make_facts(classes=2, steps=500)
    plain, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    outputs = {view: Outputs(plain, heads={"tras": second}) for view in method.views}
    state = method.state(facts)
    for number, begun in ((10, False), (11, True)):
        step = CannedStep(method, facts, outputs, torch.tensor([0]), state=state, number=number)
        losses = step.run()
        assert ("tras.labeled" in losses.unlabeled) == begun
        scores = method.predict(outputs["weak"], step.after)
        assert torch.equal(scores, second if begun else plain)


def test_rare_classes_are_adjusted_most():
    adjustment = torch.tensor([0.7, 0.25, 0.05]).double().log()
    k = strengths(adjustment, 2.0, 1.0)
    assert (k > 1).all() and (k < 3).all() and (k.diff() > 0).all()
    P = torch.tensor([[0.5, 0.3, 0.2]])
    assert adjusted(P, adjustment).argmax(1).tolist() == [2] and adjusted(P, adjustment).dtype == P.dtype


def test_the_adjustment_of_probabilities_is_that_of_logits():
    logits, adjustment = torch.randn(50, 7) * 20, (torch.rand(7).double() + 1e-12).log()
    expected = (logits.double() - adjustment).softmax(1)
    torch.testing.assert_close(adjusted(logits.softmax(1), adjustment).double(), expected, rtol=1e-5, atol=1e-7)


def test_two_that_predict_are_refused():
    with pytest.raises(UserError, match="ABC and TRAS do not combine: .* makes the prediction"):
        find("fixmatch+abc+tras")
