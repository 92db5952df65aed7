"""ABC against loops written from its formulas."""

import numpy as np
import pytest
import torch

from cissl.algorithms.abc.balance import keep_rates, ramped
from cissl.algorithms.contract import Outputs
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal(x, w, s, targets, counts, draws, progress, threshold):
    """Both losses of the balanced head, row by row."""
    keep = [min(c for c in counts if c) / c if c else 1.0 for c in counts]
    labeled = sum(draws[0][i] * -np.log(softmax(x[i])[y]) for i, y in enumerate(targets)) / len(x)
    unlabeled = 0.0
    for j in range(len(w)):
        Q = softmax(w[j])
        if Q.max() >= threshold and draws[1][j]:
            unlabeled += -(Q * np.log(softmax(s[j]))).sum() / len(w)
    return labeled, unlabeled, keep, [1 - progress * (1 - k) for k in keep]


@pytest.mark.parametrize("seed", range(5))
def test_equals_literal_loops(seed):
    random = np.random.default_rng(seed)
    B, U, C, counts = 6, 11, 4, [9, 5, 0, 2]
    x, w, s = (3 * random.normal(size=(rows, C)) for rows in (B, U, U))
    targets, draws = random.integers(0, C, B), [random.random(n) < 0.7 for n in (B, U)]
    method = make_method("fixmatch+abc", **{"abc.confidence": 0.6})
    facts = make_facts(classes=C, labeled_counts=counts, steps=10, dtype=torch.float64)
    tensors = [torch.from_numpy(values).requires_grad_() for values in (x, w, s)]
    plain = torch.zeros(U, C, dtype=torch.float64)
    outputs = {
        view: Outputs(plain[: len(head)], heads={"abc": head})
        for view, head in zip(("labeled", "weak", "strong"), tensors, strict=True)
    }
    step = CannedStep(method, facts, outputs, torch.from_numpy(targets), number=4, draws={"abc": draws})
    losses = step.run()
    labeled, unlabeled, keep, ramp = literal(x, w, s, targets, counts, draws, 0.4, 0.6)
    assert losses.unlabeled["abc.labeled"].item() == pytest.approx(labeled, rel=1e-12)
    assert losses.unlabeled["abc.unlabeled"].item() == pytest.approx(unlabeled, rel=1e-12)
    assert unlabeled > 0
    rates = keep_rates(facts.labeled_counts)
    assert rates.tolist() == pytest.approx(keep) and ramped(rates, 0.4).tolist() == pytest.approx(ramp)
    losses.total.backward()
    assert tensors[1].grad is None or not tensors[1].grad.any()  # the weak view is a constant
    assert tensors[0].grad.any() and tensors[2].grad.any()


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[2000.0, -2000.0]])
    out = {view: Outputs(logits, heads={"abc": logits}) for view in ("labeled", "weak", "strong")}
    ones = torch.ones(1, dtype=torch.bool)
    facts = make_facts(classes=2)
    step = CannedStep(make_method("fixmatch+abc"), facts, out, torch.tensor([1]), draws={"abc": [ones, ones]})
    assert step.run().total.isfinite()


def test_a_base_without_pseudo_labels_refuses_it():
    with pytest.raises(UserError, match="Supervised and ABC do not combine"):
        make_method("supervised+abc")
