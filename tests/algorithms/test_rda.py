"""RDA against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.algorithms.contract import Outputs
from cissl.algorithms.rda.method import complementary_labels
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method

VIEWS = {"labeled": 4, "weak": 6, "strong": 6}  # rows


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def tot(values):
    return values / values.sum()


class Literal:
    def __init__(self, C, N):
        self.D, self.R, self.k, self.N = np.ones((N, C)), np.ones((N, C)), 0, N

    def step(self, a, r, y, complementary, by_row):
        """L_sup, L_rev, L_cd, L_ca, and both targets."""
        p, q = (np.array([softmax(row) for row in head["weak"]]) for head in (a, r))
        self.D[self.k], self.R[self.k] = p.mean(0), q.mean(0)
        self.k = (self.k + 1) % self.N
        q_r = q * tot(1 - self.D).mean(0) / self.R.mean(0)
        q_a = p * tot(1 - self.R).mean(0) / self.D.mean(0)
        q_r = q_r / q_r.sum(1, keepdims=True) if by_row else tot(q_r)
        losses = [0.0] * 4
        for i, (c, other) in enumerate(zip(y, complementary, strict=True)):
            losses[0] -= np.log(softmax(a["labeled"][i])[c]) / len(y)
            losses[1] -= np.log(softmax(r["labeled"][i])[other]) / len(y)
        for u in range(len(p)):
            losses[2] -= np.log(softmax(a["strong"][u])[np.argmax(q_a[u])]) / len(p)
            losses[3] -= (q_r[u] * np.log(softmax(r["strong"][u]))).sum() / len(p)
        return losses, q_a.argmax(1), q_r


@pytest.mark.parametrize("by_row", [False, True])
def test_equals_literal_loops_over_more_batches_than_are_kept(by_row):
    random, C, N = np.random.default_rng(0), 4, 3
    method, literal = make_method("rda", wu=0.5, nb=N, row_normalised=by_row), Literal(C, N)
    facts = make_facts(classes=C, dtype=torch.float64)
    state = method.state(facts)
    for _ in range(7):
        a, r = ({v: 2 * random.normal(size=(rows, C)) for v, rows in VIEWS.items()} for _ in range(2))
        y, draws = random.integers(0, C, VIEWS["labeled"]), random.integers(0, C - 1, VIEWS["labeled"])
        complementary = [[c for c in range(C) if c != label][draw] for label, draw in zip(y, draws, strict=True)]
        leaves = {v: (torch.from_numpy(a[v]).requires_grad_(), torch.from_numpy(r[v]).requires_grad_()) for v in a}
        outputs = {v: Outputs(main, heads={"reverse": reverse}) for v, (main, reverse) in leaves.items()}
        targets = torch.from_numpy(y)
        step = CannedStep(method, facts, outputs, targets, state=state, draws={"complementary": [draws]})
        losses = step.run()
        losses.total.backward()
        expected, classes, q_r = literal.step(a, r, y, complementary, by_row)
        found = [*losses.labeled.values(), *losses.unlabeled.values()]
        assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-9)
        total = expected[0] + expected[1] + 0.5 * (expected[2] + expected[3])
        assert losses.total.item() == pytest.approx(total, rel=1e-9)
        assert losses.pseudo.classes.tolist() == classes.tolist() and losses.pseudo.weights.all()
        np.testing.assert_allclose(step.shared["reverse_targets"], q_r, atol=1e-12)
        assert all(leaf.grad is None for leaf in leaves["weak"])
        state = step.after
        np.testing.assert_allclose(state["distribution"], literal.D)
        np.testing.assert_allclose(state["reverse_distribution"], literal.R)
        assert state["slot"].item() == literal.k


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_complementary_labels_are_every_other_class_alike(classes):
    rows = 3000 * classes
    targets = torch.arange(rows) % classes
    generator = torch.Generator().manual_seed(0)
    draws = {"complementary": [torch.randint(classes - 1, (rows,), generator=generator)]}
    method, facts = make_method("rda"), make_facts(classes=classes)
    labels = complementary_labels(CannedStep(method, facts, {}, targets, draws=draws))
    counts = torch.zeros(classes, classes).index_put((targets, labels), torch.ones(rows), accumulate=True)
    assert counts.diagonal().tolist() == [0] * classes
    others = counts[~torch.eye(classes, dtype=torch.bool)]
    assert others.min() > 0.75 * 3000 / (classes - 1) and others.max() < 1.25 * 3000 / (classes - 1)


def test_it_aligns_and_keeps_pseudo_labels_by_itself():
    for add_on in ("cai", "darp", "prg", "crest+"):
        with pytest.raises(UserError, match="RDA and .* do not combine"):
            make_method(f"rda+{add_on}")
    assert make_method("rda+cap").recipe.name == "rda+cap"
