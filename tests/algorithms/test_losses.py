"""Losses against the authors' program and against slow, literal loops."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from cissl.algorithms.cadr.imputation import class_aware_mask, class_thresholds
from cissl.algorithms.cadr.propensity import log_row_weights, propensity, solve_prior
from cissl.algorithms.cards import find
from cissl.testing import CannedStep, make_facts, make_method

REFERENCE = Path(__file__).parents[1] / "reference"
CASES = {case["name"]: case for case in json.loads((REFERENCE / "losses.json").read_text())["cases"]}
ARRAYS = np.load(REFERENCE / "losses.npz")
MODES = ["fixmatch", "CAP", "CAI", "CAP+CAI", "CAP+CAI+CADR"]


def close(value, expected, atol=0.0, rtol=0.0, of_largest=0.0):
    expected = np.asarray(expected)
    atol = atol + of_largest * np.abs(expected).max()
    np.testing.assert_allclose(value.detach().numpy(), expected, atol=atol, rtol=rtol)


def compute(name, labeled, weak, strong, targets, prior, compiled=False, **settings):
    """One step of an algorithm; settings that it does not have are passed over."""
    own = {key: value for key, value in settings.items() if key in find(name).fields}
    method = make_method(name, **own)
    facts = dataclasses.replace(make_facts(classes=weak.shape[1], dtype=weak.dtype), compiled=compiled)
    outputs = {"labeled": labeled, "weak": weak, "strong": strong}
    step = CannedStep(method, facts, outputs, targets, state={"class_prior": prior})
    return step.run(), step


def run(case, mode, dtype=torch.float32, compiled=False):
    inputs = {role: torch.from_numpy(ARRAYS[name]) for role, name in case["inputs"].items()}
    labeled, weak, strong = (inputs[f"logits_{view}"].to(dtype).requires_grad_() for view in ("x", "weak", "strong"))
    prior, targets = inputs["p_cls_ema"].to(dtype), inputs["labels"].long()
    settings = {key: case[key] for key in ("wu", "confidence", "cai_beta", "cap_ema", "upper")}
    settings |= {"cap_ema_momentum": case["momentum"], "compiled": compiled}
    losses, step = compute(mode, labeled, weak, strong, targets, prior, **settings)
    losses.total.backward()
    return losses, step, labeled, weak, strong


@pytest.mark.parametrize("mode, compiled", [*((mode, False) for mode in MODES), ("CAP+CAI+CADR", True)])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_authors_program(name, mode, compiled):
    case, expected = CASES[name], CASES[name]["modes"][mode]
    arrays = {role: ARRAYS[array] for role, array in expected["arrays"].items()}
    losses, step, labeled, weak, strong = run(case, mode, compiled=compiled)

    close(losses.labeled_sum, expected["loss_xe"], atol=1e-5, rtol=1e-5)
    close(losses.unlabeled["unlabeled"], expected["loss_xeu"], atol=1e-5, rtol=1e-5)
    close(losses.pseudo.weights, arrays["mask"].astype(bool))
    close(step.after["class_prior"], arrays["update_p"], atol=1e-7)
    close(labeled.grad, arrays["grad_x"], atol=1e-7, rtol=1e-5)
    close(strong.grad, arrays["grad_strong"], atol=1e-7, rtol=1e-5)
    if expected.get("grad_weak_is_zero"):
        assert weak.grad is None or not weak.grad.any()
    else:
        close(weak.grad, arrays["grad_weak"], atol=1e-8, of_largest=3e-4)
    if "mask_aug" in arrays:
        close(losses.labeled["dr"], expected["loss_xe_aug"], atol=1e-5, rtol=1e-5)
        thresholds = class_thresholds(step.next["class_prior"], confidence=case["confidence"], beta=case["cai_beta"])
        mask = class_aware_mask(labeled.detach().softmax(1), thresholds)
        close(mask, arrays["mask_aug"].astype(bool))
        assert step.measured["dr.mask_ratio"] == mask.double().mean()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", [name for name in CASES if "propensity" in CASES[name]["modes"]["CAP"]["arrays"]])
def test_propensity_equals_the_authors_program(name, compiled):
    case = CASES[name]
    arrays = {role: ARRAYS[array] for role, array in case["modes"]["CAP"]["arrays"].items()}
    weak, prior, targets = (
        torch.from_numpy(ARRAYS[case["inputs"][role]]) for role in ("logits_weak", "p_cls_ema", "labels")
    )
    P = weak.softmax(1)
    pi = propensity(P, prior, upper=case["upper"], cap_ema=case["cap_ema"], compiled=compiled)
    close(pi, arrays["propensity"], of_largest=3e-4)
    close(log_row_weights(pi, targets.long()).exp(), arrays["row_weight"], atol=5e-5, rtol=5e-5)
    if "bs_weight" in arrays:
        weights = solve_prior(P, prior, compiled=compiled).clamp(0, case["upper"])
        close(weights, arrays["bs_weight"], of_largest=3e-4)


def random_logits(seed, B=6, U=15, C=5, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda rows: scale * torch.randn(rows, C, generator=generator, dtype=torch.float64)  # noqa: E731
    targets = torch.randint(C, (B,), generator=generator)
    prior = torch.rand(C, generator=generator, dtype=torch.float64) + 0.05
    return draw(B), draw(U), draw(U), targets, prior / prior.sum()


def literal_losses(x, w, s, y, prior, options, cap, cai, cadr):
    """Every formula of the paper as a loop over rows, in numpy float64."""
    softmax = lambda row: np.exp(row - row.max()) / np.exp(row - row.max()).sum()  # noqa: E731
    x, w, s, y, prior = (t.numpy() for t in (x, w, s, y, prior))
    B, (U, C) = len(x), w.shape
    P = np.stack([softmax(row) for row in w])
    new_prior = options.cap_ema_momentum * prior + (1 - options.cap_ema_momentum) * P.mean(0)
    threshold = [options.confidence * (new_prior[c] / new_prior.max()) ** options.cai_beta for c in range(C)]

    labeled = sum(-np.log(softmax(x[i])[y[i]]) for i in range(B)) / B
    if cap:
        b = np.clip(prior @ np.linalg.pinv(P, rcond=10 * max(U, C) * 2.0**-23), 0, options.upper)
        pi = b @ P
        weights = lambda classes: [B / pi[c] / sum(1 / pi[d] for d in classes) for c in classes]  # noqa: E731
        labeled -= sum(np.log(r) for r in weights(y)) / B
        if cadr:
            predicted = [int(np.argmax(softmax(row))) for row in x]
            passed = [softmax(x[i]).max() > threshold[predicted[i]] for i in range(B)]
            labeled += sum(a * np.log(r) for a, r in zip(passed, weights(predicted), strict=True)) / B
    unlabeled = 0.0
    for n in range(U):
        c = int(np.argmax(P[n]))
        kept = P[n, c] > threshold[c] if cai else P[n, c] >= options.confidence
        unlabeled += kept * -np.log(softmax(s[n])[c]) / U
    return labeled, unlabeled, new_prior


LITERAL = dict(confidence=0.6, cai_beta=0.7, cap_ema_momentum=0.8, upper=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_every_part_acts_in_the_literal_loops(seed):
    """Pseudo-labels are kept and dropped, by one threshold and by another; weights are clipped; DR counts some rows."""
    inputs = random_logits(seed)
    steps = {name: compute(name, *inputs, **LITERAL) for name in ("fixmatch", "cap", "cai", "cap+cai", "cadr")}
    kept = {name: losses.pseudo.weights.sum().item() for name, (losses, _) in steps.items()}
    assert 0 < kept["fixmatch"] < kept["cai"] < len(inputs[1])
    weights = solve_prior(inputs[1].softmax(1), inputs[4])
    assert (weights > LITERAL["upper"]).any() and (weights < LITERAL["upper"]).any()
    assert steps["cadr"][1].measured["dr.mask_ratio"] > 0 and steps["cadr"][0].labeled["dr"].abs() > 1e-3
    totals = [losses.total.item() for losses, _ in steps.values()]
    assert np.abs(np.subtract.outer(totals, totals))[~np.eye(len(totals), dtype=bool)].min() > 1e-3


@pytest.mark.parametrize("name", ["fixmatch", "cap", "cai", "cap+cai", "cap+cadr", "cadr"])
@pytest.mark.parametrize("seed", range(5))
def test_equals_literal_loops(name, seed):
    parts = [card.name for card in find(name).add_ons]
    inputs = random_logits(seed)
    losses, step = compute(name, *inputs, **LITERAL)
    switches = ("cap" in parts, "cai" in parts, "dr" in parts)
    labeled, unlabeled, prior = literal_losses(*inputs, SimpleNamespace(**LITERAL), *switches)
    close(losses.labeled_sum, labeled, rtol=1e-9)
    close(losses.unlabeled["unlabeled"], unlabeled, rtol=1e-9)
    close(step.after["class_prior"], prior, rtol=1e-12)


def test_gradients_with_cap_are_those_of_the_loss_value():
    # The pseudo-inverse is a constant by definition, so the check is made where no row weight depends on P.
    x, w, s, y, prior = random_logits(3, B=4, U=6, C=3)

    def total(x, w, s):
        return compute("cap", x, w, s, y, prior, confidence=0.6, cap_ema=False)[0].total

    assert gradcheck(total, tuple(t.requires_grad_() for t in (x, w, s)))


def test_row_weights_average_to_one():
    pi = torch.tensor([0.5, 0.1, 0.02])
    weights = log_row_weights(pi, torch.tensor([0, 0, 1, 2])).exp()
    assert weights.mean().item() == pytest.approx(1)
    assert weights[3] > weights[2] > weights[0]


def test_a_labeled_class_that_no_weak_row_predicts_stays_finite():
    weak = torch.full((12, 3), -200.0)
    weak[:, 0] = 200.0  # float32 softmax gives exactly 0 to classes 1 and 2
    labeled = torch.zeros(4, 3, requires_grad=True)
    weak.requires_grad_()
    prior = torch.full((3,), 1 / 3)
    losses, _ = compute("cadr", labeled, weak, weak.detach(), torch.tensor([0, 1, 2, 2]), prior)
    losses.labeled_sum.backward()
    assert losses.labeled_sum.isfinite()
    assert labeled.grad.isfinite().all() and weak.grad.isfinite().all()


def test_plain_threshold_keeps_equality_and_class_aware_threshold_does_not():
    weak = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    prior = torch.tensor([0.5, 0.5])
    targets = torch.tensor([0, 1])
    for name, kept in (("fixmatch", [True, True]), ("cai", [False, True])):
        losses, _ = compute(name, weak, weak, weak, targets, prior, confidence=0.5, cai_beta=0.0)
        assert losses.pseudo.weights.tolist() == kept


def test_of_several_strong_views_the_unlabeled_loss_is_the_mean():
    random = torch.Generator().manual_seed(0)
    first, second, weak = (3 * torch.randn(9, 4, generator=random) for _ in range(3))
    method = make_method("fixmatch", confidence=0.6)
    facts = make_facts(classes=4)
    alone = []
    for names, strong in ((("strong",), first), (("strong",), second), (("strong", "strong2"), first)):
        method.base.strong_views = names
        outputs = {"labeled": weak[:2], "weak": weak, "strong": strong, "strong2": second}
        method.base.views = dict.fromkeys(["labeled", "weak", *names])
        alone.append(CannedStep(method, facts, outputs, torch.tensor([0, 1])).run().unlabeled["unlabeled"])
    assert alone[2].item() == pytest.approx((alone[0] + alone[1]).item() / 2, rel=1e-6)
    assert alone[0] > 0 and alone[1] > 0
