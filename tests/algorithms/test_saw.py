"""SAW against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.cards import find
from cissl.algorithms.saw.class_weights import class_weights, predicted_counts
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(rows):
    e = np.exp(rows - rows.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits, y):
    return [-np.log(softmax(logits)[i, y[i]]) for i in range(len(y))]


def literal_weights(counts, scheme, a, normalize):
    C, total = len(counts), sum(counts)
    present = [k or 1 for k in counts]
    if scheme == "effective":
        beta = max(0, (total / C - 1) / (total / C)) if a == 1 else a
        v = [(1 - beta) / (1 - beta**k) for k in present]
    elif scheme == "power":
        v = [(total / k) ** a for k in present]
    elif scheme == "minority":
        v = [(k / max(min(counts), 1)) ** (1 / a) for k in counts]
    else:
        v = [a * k / total + 1 for k in counts]
    return [normalize * C * x / sum(v) for x in v] if normalize else v


@pytest.mark.parametrize(
    "scheme, constant", [("effective", 0.99), ("effective", 1), ("power", 0.7), ("minority", 2), ("total", 1)]
)
@pytest.mark.parametrize("normalize", [0, 1, 0.5])
@pytest.mark.parametrize("counts", [[1500, 800, 3, 15], [40, 0, 7, 0], [1, 1, 1, 1], [0, 0, 2, 0], [3, 3, 3, 3]])
def test_weights_equal_literal_formulas(scheme, constant, normalize, counts):
    weights = class_weights(torch.tensor(counts), scheme, constant, normalize)
    assert weights.tolist() == pytest.approx(literal_weights(counts, scheme, constant, normalize), rel=1e-9)
    assert weights.isfinite().all()
    assert not normalize or weights.mean().item() == pytest.approx(normalize)


def test_rare_classes_weigh_more():
    weights = class_weights(torch.tensor([100, 10, 1]), "effective", 0.99, 1)
    assert weights[0] < weights[1] < weights[2]


def test_rows_never_seen_count_as_the_first_class():
    table = torch.tensor(
        [[0.25, 0.25, 0.25, 0.25], [0.1, 0.4, 0.4, 0.1], [0.0, 0.1, 0.2, 0.7], [0.25, 0.25, 0.25, 0.25]]
    )
    assert predicted_counts(table).tolist() == [2, 1, 0, 1]


def test_steps_equal_literal_loops():
    random = np.random.default_rng(0)
    N, C, B, U, length, counts = 20, 4, 5, 9, 3, [7, 4, 2, 1]
    settings = {"saw.epoch": length, "saw.constant": 1, "wu": 1.5, "confidence": 0.6}
    method = make_method("fixmatch+saw", **settings)
    facts = make_facts(classes=C, labeled_counts=counts, unlabeled=N, steps=100, dtype=torch.float64)
    table, w_u, state = np.full((N, C), 1 / C), np.ones(C), method.state(facts)
    w_x = np.array(literal_weights(counts, "effective", 1, 1))
    estimated = []
    for number in range(8):
        x, w, s = (3 * random.normal(size=(rows, C)) for rows in (B, U, U))
        y, index = random.integers(0, C, B), random.integers(0, N - 3, U)
        P = softmax(w)
        for row, p in zip(index, P, strict=True):
            table[row] = p
        label, mask = P.argmax(1), P.max(1) >= 0.6
        loss_x = np.mean([w_x[y[i]] * ce for i, ce in enumerate(cross_entropy(x, y))])
        loss_u = np.mean([mask[u] * w_u[label[u]] * ce for u, ce in enumerate(cross_entropy(s, label))])
        step = CannedStep(
            method,
            facts,
            {"labeled": torch.tensor(x), "weak": torch.tensor(w), "strong": torch.tensor(s)},
            torch.tensor(y),
            state=state,
            number=number,
            index={"unlabeled": torch.tensor(index)},
        )
        losses = step.run()
        assert losses.labeled_sum.item() == pytest.approx(loss_x, rel=1e-12)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss_u, rel=1e-12)
        assert losses.total.item() == pytest.approx(loss_x + 1.5 * loss_u, rel=1e-12)
        assert losses.pseudo.weights.dtype == torch.bool  # the record of what is kept is not weighed
        if number % length == length - 1:
            w_u = np.array(literal_weights(np.bincount(table.argmax(1), minlength=C).tolist(), "effective", 1, 1))
            estimated.append(w_u)
        state = step.after
        np.testing.assert_allclose(state["saw.weights"], w_u, rtol=1e-12)
        np.testing.assert_allclose(state["saw.table"], table, rtol=1e-12)
    assert len(estimated) == 2 and not np.allclose(*estimated)


def test_gradients_do_not_reach_the_weak_view():
    logits = torch.randn(4, 3, requires_grad=True)
    method = make_method("fixmatch+saw", confidence=0.0)
    facts = make_facts(classes=3, unlabeled=9)
    outputs = {"labeled": torch.randn(2, 3), "weak": logits, "strong": torch.randn(4, 3, requires_grad=True)}
    step = CannedStep(method, facts, outputs, torch.tensor([0, 1]), index={"unlabeled": torch.arange(4)})
    step.run().total.backward()
    assert logits.grad is None


@pytest.mark.parametrize("other", ["cap", "cai+cap"])
def test_two_that_weigh_the_labeled_loss_are_refused(other):
    with pytest.raises(UserError, match="CAP and SAW do not combine|SAW and CAP do not combine"):
        find(f"fixmatch+saw+{other}")


def test_two_that_take_the_place_of_one_loss_are_refused():
    """CReST does so with an option alone, so its name does not tell."""
    method = make_method("fixmatch+saw+crest", **{"crest.reweight_labeled": True})
    facts = make_facts(classes=2, unlabeled=3)
    logits = torch.zeros(3, 2)
    outputs = {"labeled": logits[:2], "weak": logits, "strong": logits}
    step = CannedStep(method, facts, outputs, torch.tensor([0, 1]), index={"unlabeled": torch.arange(3)})
    with pytest.raises(UserError, match="SAW and CReST do not combine with these settings: .*'labeled'"):
        step.run()
