"""FreeMatch against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.freematch.self_adaptive_thresholds import class_thresholds, fairness_loss, typical_confidence
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(row, temperature=1.0):
    row = row / temperature
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def normalised_ratio(values, counts):
    """values / counts, where 1/0 is 0, with a sum of 1."""
    ratio = [value / count if count else 0.0 for value, count in zip(values, counts, strict=True)]
    return [value / sum(ratio) for value in ratio]


def literal_step(w, s, tau, p, h, *, m, quantile, clip, temperature):
    """One step, row after row: unlabeled loss, fairness term, mask and the new state."""
    U, C = w.shape
    P = [softmax(row) for row in w]
    labels = [int(np.argmax(row)) for row in P]
    confidence = [max(row) for row in P]
    tau = m * tau + (1 - m) * (np.quantile(confidence, 0.8) if quantile else np.mean(confidence))
    tau = min(tau, clip)
    p = [m * p[c] + (1 - m) * np.mean([row[c] for row in P]) for c in range(C)]
    h = [m * h[c] + (1 - m) * labels.count(c) / U for c in range(C)]
    mask = [confidence[i] >= tau * p[labels[i]] / max(p) for i in range(U)]

    loss = 0.0
    for i in range(U):
        target = softmax(w[i], temperature) if temperature else np.eye(C)[labels[i]]
        loss += mask[i] * -(target * np.log(softmax(s[i]))).sum() / U
    kept = [softmax(s[i]) for i in range(U) if mask[i]]
    fairness = 0.0
    if kept:
        guesses = [int(np.argmax(row)) for row in kept]
        a = normalised_ratio(p, h)
        b = normalised_ratio(np.mean(kept, axis=0), [guesses.count(c) / len(kept) for c in range(C)])
        fairness = sum(a[c] * math.log(b[c] + 1e-12) for c in range(C))
    return loss, fairness, mask, tau, p, h


OPTIONS = [
    {"quantile": False, "clip": 1.0, "temperature": 0.0},
    {"quantile": True, "clip": 0.5, "temperature": 0.0},
    {"quantile": False, "clip": 1.0, "temperature": 0.4},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_loops(seed, options):
    random = np.random.default_rng(seed)
    B, U, C = 4, 9, 5
    method = make_method(
        "freematch",
        ema_p=0.7,
        ent_loss_ratio=0.3,
        wu=0.5,
        use_quantile=options["quantile"],
        clip_thresh=options["clip"],
        temperature=options["temperature"],
    )
    facts = make_facts(classes=C, dtype=torch.float64)
    state, tau, p, h = method.state(facts), 1 / C, [1 / C] * C, [1 / C] * C
    kept = 0
    for number in range(5):
        x, w, s = (2 * random.normal(size=(rows, C)) for rows in (B, U, U))
        targets = torch.from_numpy(random.integers(0, C, B))
        outputs = {view: torch.from_numpy(v) for view, v in (("labeled", x), ("weak", w), ("strong", s))}
        step = CannedStep(method, facts, outputs, targets, state=state, number=number)
        losses = step.run()
        loss, fairness, mask, tau, p, h = literal_step(w, s, tau, p, h, m=0.7, **options)
        state = step.after
        assert losses.unlabeled["unlabeled"].item() == pytest.approx(loss, rel=1e-12)
        assert losses.unlabeled["fairness"].item() == pytest.approx(fairness, rel=1e-12)
        assert losses.total.item() == pytest.approx(losses.labeled_sum.item() + 0.5 * loss + 0.3 * fairness)
        assert losses.pseudo.weights.tolist() == mask
        assert state["threshold"].item() == pytest.approx(tau)
        assert state["mean"].tolist() == pytest.approx(p) and state["histogram"].tolist() == pytest.approx(h)
        kept += sum(mask)
    assert 0 < kept < 5 * U


def test_where_no_row_is_kept_the_fairness_term_and_its_gradient_are_zero():
    strong = torch.randn(6, 4, requires_grad=True)
    loss = fairness_loss(strong, torch.zeros(6, dtype=torch.bool), torch.full((4,), 0.25), torch.full((4,), 0.25))
    loss.backward()
    assert loss.item() == 0 and not strong.grad.any()


def test_classes_that_no_kept_row_predicts_weigh_heavily_and_give_no_gradient():
    strong = torch.zeros(5, 100)
    strong[:, 3] = 9.0
    strong.requires_grad_()
    loss = fairness_loss(strong, torch.ones(5, dtype=torch.bool), torch.full((100,), 0.01), torch.full((100,), 0.01))
    loss.backward()
    assert loss.item() == pytest.approx(0.99 * math.log(1e-12), rel=1e-5)
    assert strong.grad.abs().max() < 1e-6  # b is 1 for the one class that is predicted, whatever its probability


def test_a_class_that_is_never_predicted_has_no_share_in_what_is_wanted():
    strong = torch.randn(8, 3, dtype=torch.float64)
    kept, mean = torch.ones(8, dtype=torch.bool), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    histogram = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
    S, guesses = strong.softmax(1).mean(0), strong.argmax(1)
    b = normalised_ratio(S.tolist(), [(guesses == c).double().mean().item() for c in range(3)])
    a = [0.5 / 0.6, 0.3 / 0.4, 0.0]
    expected = sum(weight / sum(a) * math.log(value + 1e-12) for weight, value in zip(a, b, strict=True))
    assert fairness_loss(strong, kept, mean, histogram).item() == pytest.approx(expected)


@pytest.mark.parametrize("rows", [1, 2, 6, 7, 448])
def test_the_quantile_is_interpolated(rows):
    P = torch.rand(rows, 4, dtype=torch.float64).softmax(1)
    expected = np.quantile(P.amax(1).numpy(), 0.8)
    assert typical_confidence(P, quantile=True).item() == pytest.approx(expected, rel=1e-12)


def test_a_confidence_at_its_threshold_is_kept():
    facts = make_facts(classes=4)
    method = make_method("freematch", ema_p=0.0)  # the threshold is the batch's own mean
    logits = torch.zeros(3, 4)  # every row is uniform: confidence = threshold
    outputs = {"labeled": torch.zeros(2, 4), "weak": logits, "strong": logits}
    losses = CannedStep(method, facts, outputs, torch.tensor([0, 1])).run()
    assert losses.pseudo.weights.all() and not losses.pseudo.classes.any()
    assert class_thresholds(torch.tensor(0.8), torch.tensor([0.1, 0.4])).tolist() == pytest.approx([0.2, 0.8])


def test_two_strong_views_count_as_one_batch_of_twice_the_rows():
    facts, method = make_facts(classes=3, dtype=torch.float64), make_method("freematch", ema_p=0.5)
    method.base.strong_views, method.base.views = ("strong", "strong2"), {**method.base.views, "strong2": None}
    x, w, s, s2 = (torch.randn(6, 3, dtype=torch.float64) for _ in range(4))
    outputs = {"labeled": x, "weak": w, "strong": s, "strong2": s2}
    step = CannedStep(method, facts, outputs, torch.zeros(6, dtype=torch.int64))
    losses = step.run()
    both = fairness_loss(torch.cat([s, s2]), losses.pseudo.weights.repeat(2), step.next["mean"], step.next["histogram"])
    assert torch.equal(losses.unlabeled["fairness"], both)


def test_its_own_thresholds_leave_no_place_for_others():
    with pytest.raises(UserError, match="FreeMatch and CAI do not combine"):
        make_method("freematch+cai")
    with pytest.raises(UserError, match="FreeMatch and DR do not combine"):
        make_method("freematch+cap+dr")
    assert make_method("freematch+cap").recipe.name == "freematch+cap"
