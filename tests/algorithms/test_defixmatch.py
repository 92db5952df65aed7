"""DeFixMatch against loops written from its description."""

import numpy as np
import pytest
import torch

from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method

VIEWS = {"labeled": 4, "labeled_strong": 4, "weak": 7, "strong": 7}  # rows


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def H(a, b, cutoff, T):
    """mean 1[max softmax(a) >= cutoff] · CE(b, t)."""
    total = 0.0
    for weak, strong in zip(a, b, strict=True):
        target = softmax(weak / T) if T else np.eye(len(weak))[np.argmax(weak)]
        total -= (max(softmax(weak)) >= cutoff) * (target * np.log(softmax(strong))).sum() / len(a)
    return total


@pytest.mark.parametrize("T", [0.0, 0.5])
@pytest.mark.parametrize("variant", ["debiased", "modified", "fixmatch"])
def test_equals_literal_loops(variant, T):
    random, C = np.random.default_rng(0), 4
    method = make_method("defixmatch", confidence=0.7, wu=0.3, variant=variant, temperature=T)
    facts = make_facts(classes=C, dtype=torch.float64)
    views = {v: 3 * random.normal(size=(rows, C)) for v, rows in VIEWS.items()}
    y = random.integers(0, C, VIEWS["labeled"])
    leaves = {v: torch.from_numpy(rows).requires_grad_() for v, rows in views.items()}
    step = CannedStep(method, facts, leaves, torch.from_numpy(y))
    losses = step.run()
    losses.total.backward()
    ce = {
        v: np.mean([-np.log(softmax(row)[c]) for row, c in zip(views[v], y, strict=True)])
        for v in ("labeled", "labeled_strong")
    }
    L = ce["labeled"] if variant == "fixmatch" else 0.5 * (ce["labeled"] + ce["labeled_strong"])
    L += 0.3 * H(views["weak"], views["strong"], 0.7, T)
    subtracted = H(views["labeled"], views["labeled_strong"], 0.7, T)
    assert subtracted > 0
    if variant == "debiased":
        L -= 0.3 * subtracted
    assert losses.total.item() == pytest.approx(L, rel=1e-9)
    assert leaves["weak"].grad is None
    assert (leaves["labeled_strong"].grad is None) == (variant == "fixmatch")


def test_where_all_is_alike_but_the_labels_the_two_losses_cancel():
    method, rows = make_method("defixmatch", confidence=0.0), 3 * torch.randn(4, 3, dtype=torch.float64)
    facts, other = make_facts(classes=3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    outputs = {"labeled": rows, "weak": rows, "labeled_strong": other, "strong": other}
    losses = CannedStep(method, facts, outputs, torch.tensor([0, 1, 2, 0])).run()
    assert losses.unlabeled["unlabeled"] > 0 and torch.allclose(losses.total, losses.labeled_sum)


def test_what_would_act_on_one_of_the_two_losses_alone_is_refused():
    for add_on in ("cai", "darp", "saw", "abc"):
        with pytest.raises(UserError, match="DeFixMatch and .* do not combine"):
            make_method(f"defixmatch+{add_on}")
    assert make_method("defixmatch+cap").recipe.name == "defixmatch+cap"
