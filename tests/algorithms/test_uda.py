"""UDA against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.maths.mixing import sharpen
from cissl.algorithms.uda.annealing import annealed_loss, annealed_threshold, divergence
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row, temperature=1.0):
    row = row / temperature
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def literal_losses(x, y, w, s, eta, *, confidence, temperature):
    """Row after row: labeled, unlabeled and entropy loss, and how many rows count in the first two."""
    rows = [(softmax(row)[target], row, target) for row, target in zip(x, y, strict=True)]
    kept = [-math.log(softmax(row)[target]) for p, row, target in rows if p <= eta]
    labeled = sum(kept) / max(len(kept), 1)
    unlabeled, entropy, followed = 0.0, 0.0, 0
    for weak, strong in zip(w, s, strict=True):
        P, t, S = softmax(weak), softmax(weak, temperature), softmax(strong)
        followed += P.max() >= confidence
        unlabeled += (P.max() >= confidence) * sum(a * math.log(a / b) for a, b in zip(t, S, strict=True)) / len(w)
        entropy -= (P * np.log(P)).sum() / len(w)
    return labeled, unlabeled, entropy, len(kept), followed


@pytest.mark.parametrize("tsa", ["no", "linear", "exp", "log"])
@pytest.mark.parametrize("seed", range(2))
def test_equals_literal_loops(seed, tsa):
    random = np.random.default_rng(seed)
    B, U, C, steps = 8, 12, 4, 512
    method = make_method("uda", confidence=0.7, temperature=0.4, wu=0.5, we=0.3, tsa=tsa, tsa_pos=9)
    facts = make_facts(classes=C, batch=B, steps=steps, dtype=torch.float64)
    counted = followed = 0
    for number in (0, 40, 130, 255, 400):
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (B, U, U))
        y = random.integers(0, C, B)
        r = number / (steps / 2)  # the annealing takes 2^9 of each 1024 images: half of the training
        c = {"no": 1, "linear": r, "exp": math.exp(5 * (r - 1)), "log": 1 - math.exp(-5 * r)}[tsa]
        eta = min(c, 1) * (1 - 1 / C) + 1 / C
        outputs = {view: torch.from_numpy(v) for view, v in (("labeled", x), ("weak", w), ("strong", s))}
        losses = CannedStep(method, facts, outputs, torch.from_numpy(y), number=number).run()
        expected = literal_losses(x, y, w, s, eta, confidence=0.7, temperature=0.4)
        labeled, unlabeled, entropy, kept, rows = expected
        assert losses.labeled["labeled"].item() == pytest.approx(labeled, rel=1e-12)
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(unlabeled, rel=1e-12)
        assert losses.unlabeled["entropy"].item() == pytest.approx(entropy, rel=1e-12)
        assert losses.total.item() == pytest.approx(labeled + 0.5 * unlabeled + 0.3 * entropy)
        assert losses.pseudo.weights.sum() == rows
        counted, followed = counted + kept, followed + rows
    assert 0 < followed < 5 * U and (counted == 5 * B if tsa == "no" else 0 < counted < 5 * B)


@pytest.mark.parametrize("classes", range(2, 120))
def test_without_annealing_a_certain_row_counts(classes):
    assert annealed_threshold("no", 0, 8192, 8, classes) == 1
    assert annealed_threshold("linear", 8192 * 256, 8192, 8, classes) == 1


def test_a_long_training_anneals_no_longer_than_one_of_16384_kimg():
    images = 2**20
    long, longest = (annealed_threshold("linear", images, kimg, 8, 10) for kimg in (2**16, 2**14))
    assert long == longest == pytest.approx(0.1 + 0.9 * images / 2**22)
    assert annealed_threshold("exp", 1e12, 1, 8, 10) == 1  # far past the end nothing overflows


def test_rows_count_up_to_and_including_the_threshold():
    logits = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    loss, kept = annealed_loss(logits, torch.tensor([0, 0, 0]), 0.5)
    assert kept.tolist() == [True, False, True]
    first, third = math.log(2), 9 + math.log1p(math.exp(-9))
    assert loss.item() == pytest.approx((first + third) / 2, rel=1e-6)
    loss, _ = annealed_loss(logits, torch.tensor([0, 0, 0]), 0.5, torch.tensor([2.0, 1.0, 3.0]))
    assert loss.item() == pytest.approx((2 * first + 3 * third) / 2, rel=1e-6)


def test_where_no_row_counts_the_labeled_loss_and_its_gradient_are_zero():
    logits = torch.tensor([[9.0, 0.0]], requires_grad=True)
    loss, _ = annealed_loss(logits, torch.tensor([0]), 0.5)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_certain_targets_have_a_finite_divergence():
    strong = torch.tensor([[-200.0, 0.0, 3.0]], requires_grad=True)
    loss = divergence(strong, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([True]))
    loss.backward()
    assert loss.item() == pytest.approx(200 + math.log(1 + math.exp(3)), rel=1e-6) and strong.grad.isfinite().all()


def test_a_low_temperature_sharpens_unsure_rows_too():
    P = torch.full((1, 100), 0.01)
    assert sharpen(P, 0.01).tolist()[0] == pytest.approx([0.01] * 100)
    assert sharpen(torch.tensor([[0.02, 0.01, 0.97]]), 0.01).tolist() == [[0, 0, 1]]


def test_the_threshold_is_compared_with_probabilities_before_they_are_sharpened():
    method = make_method("uda", confidence=0.8, temperature=0.1)
    P = torch.tensor([[0.7, 0.3], [0.85, 0.15]])
    outputs = {"labeled": torch.zeros(1, 2), "weak": P.log(), "strong": torch.zeros(2, 2)}
    losses = CannedStep(method, make_facts(classes=2), outputs, torch.tensor([0])).run()
    assert losses.pseudo.weights.tolist() == [False, True]
    assert losses.pseudo.probabilities[0, 0] > 0.99


def test_an_add_on_weighs_the_rows_that_annealing_leaves():
    facts = make_facts(classes=2, labeled_counts=[3, 1], unlabeled=2, steps=100, batch=4)
    x = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-0.5, 0.0], [4.0, 0.0]])
    outputs = {"labeled": x, "weak": torch.zeros(2, 2), "strong": torch.zeros(2, 2)}
    values = {}
    for name in ("uda", "uda+saw"):
        method = make_method(name, tsa="linear", tsa_pos=10)
        index = {"unlabeled": torch.arange(2)}
        step = CannedStep(method, facts, outputs, torch.tensor([0, 0, 0, 1]), number=40, index=index)
        values[name] = step.run().labeled["labeled"].item()
    rows = torch.nn.functional.cross_entropy(x, torch.tensor([0, 0, 0, 1]), reduction="none")
    assert values["uda"] == pytest.approx(rows[1:].mean().item())  # the first is above 0.7
    weights = make_method("saw").add_ons[0]._weights(facts.labeled_counts, facts)
    assert values["uda+saw"] == pytest.approx((weights[[0, 0, 0, 1]] * rows)[1:].mean().item())


def test_soft_targets_leave_no_place_for_a_choice_of_classes():
    with pytest.raises(UserError, match="UDA and Adsh do not combine"):
        make_method("uda+adsh")
    assert make_method("uda+cap+dr").recipe.name == "uda+cap+dr"
