"""CDMAD against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.cdmad.method import blank_image
from cissl.algorithms.contract import Outputs
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal_losses(views, y, blank, debias, tau):
    """L_x, L_u, pseudo-labels and masks, row after row."""
    U = len(views["weak"])
    p = np.array([softmax(row - blank if debias else row) for row in views["weak"]])
    m = [max(row) >= tau for row in p]
    labeled = sum(-np.log(softmax(row)[c] + 1e-8) for row, c in zip(views["labeled"], y, strict=True)) / len(y)
    unlabeled = 0.0
    for view in ("strong", "strong2"):
        for u in range(U):
            unlabeled += m[u] * -(p[u] * np.log(softmax(views[view][u]) + 1e-8)).sum() / (2 * U)
    return labeled, unlabeled, p, m


@pytest.mark.parametrize("number, debias", [(0, False), (4, False), (5, True), (9, True)])
@pytest.mark.parametrize("tau", [0.0, 0.6])
def test_equals_literal_loops(tau, number, debias):
    random, C, B, U = np.random.default_rng(number), 4, 3, 7
    method = make_method("cdmad", confidence=tau, debias_start=0.5)
    facts = make_facts(classes=C, steps=10, dtype=torch.float64)
    views = {view: 4 * random.normal(size=(B if view == "labeled" else U, C)) for view in method.views}
    views["labeled"][0] = [-40, 0, 0, 0]  # here the constant in the logarithm is what counts
    y, blank = np.array([0, 1, 3]), random.normal(size=C)
    leaves = {view: torch.from_numpy(rows).requires_grad_() for view, rows in views.items()}
    networks = [Outputs(torch.from_numpy(blank)[None])]
    step = CannedStep(method, facts, leaves, torch.from_numpy(y), number=number, networks=networks)
    losses = step.run()
    losses.total.backward()
    labeled, unlabeled, p, m = literal_losses(views, y, blank, debias, tau)
    assert losses.labeled_sum.item() == pytest.approx(labeled, rel=1e-9)
    assert losses.unlabeled["unlabeled"].item() == pytest.approx(unlabeled, rel=1e-9)
    np.testing.assert_allclose(losses.pseudo.probabilities, p, atol=1e-12)
    assert losses.pseudo.weights.tolist() == m and leaves["weak"].grad is None
    assert leaves["labeled"].grad[0].abs().max() < 1e-6  # of a hopeless row no gradient is left


def test_the_prediction_is_debiased_by_what_the_averaged_network_says_of_the_blank_image():
    method, facts = make_method("cdmad"), make_facts(classes=3, side=5, channels=1)
    seen = []

    def network(images):
        seen.append(images)
        return Outputs(torch.tensor([[2.0, 0.0, 0.0]]))

    state = method.prepare(network, facts)
    assert torch.equal(seen[0], torch.ones(1, 1, 5, 5)) and torch.equal(seen[0], blank_image(facts))
    assert method.predict(Outputs(torch.tensor([[1.0, 0.5, 0.0]])), state).argmax(1).item() == 1


def test_what_would_not_act_is_refused():
    for add_on in ("cap", "darp", "abc"):
        with pytest.raises(UserError, match="CDMAD and .* do not combine"):
            make_method(f"cdmad+{add_on}")
