"""CAP's pseudo-inverse, in both forms, against singular vectors one by one."""

import numpy as np
import pytest
import torch

from cissl.algorithms.cadr.pseudo_inverse import by_eigenvalues, by_products, cut_off
from cissl.testing.device_calls import DeviceCalls

FORMS = [by_eigenvalues, by_products]
EPS = np.finfo(np.float64).eps
SHAPES = [(448, 10), (24, 10), (15, 5), (6, 6), (40, 100), (448, 100), (7, 1), (1, 6)]


def literal(v, P):
    """v · pinv(P): over the singular vectors whose values are kept, one at a time."""
    left, values, right = np.linalg.svd(P, full_matrices=False)
    total = np.zeros(len(P))
    for k in range(len(values)):
        if values[k] > 10 * max(P.shape) * 2.0**-23 * values[0]:
            total += left[:, k] * (right[k] @ v) / values[k]
    return total


def error(form, v, P):
    """Of a form, as a share of the largest weight."""
    expected = literal(v, P)
    found = form(torch.from_numpy(v), torch.from_numpy(P)).numpy()
    return np.abs(found - expected).max() / np.abs(expected).max()


def matrix(draw, shape, values):
    """Random singular vectors with these singular values."""
    rows, columns = shape
    left = np.linalg.qr(draw.normal(size=(rows, len(values))))[0]
    right = np.linalg.qr(draw.normal(size=(columns, len(values))))[0]
    return left * values @ right.T


def rounding(shape, gap):
    """What float64 leaves of eigenvalues that are a share `gap` from the cut-off: ε / (c² · gap), and room."""
    return 20 * EPS / (cut_off(shape) ** 2 * gap)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrices_of_any_rank_whose_singular_values_stand_on_both_sides_of_the_cut_off(shape, form):
    draw = np.random.default_rng(0)
    for _ in range(10):
        rank = draw.integers(1, min(shape) + 1)
        values = cut_off(shape) ** draw.uniform(0, 1.5, rank)  # kept ones down to the cut-off, and dropped ones
        values[0] = 1
        distance = np.abs(values / cut_off(shape) - 1)
        values[distance < 0.05] *= 1.2
        gap = np.abs(values / cut_off(shape) - 1).min(initial=1.0)
        P = draw.uniform(0.1, 10) * matrix(draw, shape, values)
        assert error(form, draw.uniform(size=shape[1]), P) < rounding(shape, min(gap, 0.05))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("shape", [(448, 10), (150, 60)], ids=str)
def test_singular_values_close_to_the_cut_off_on_both_sides(shape, share, form):
    c = cut_off(shape)
    for seed in range(5):
        draw = np.random.default_rng(seed)
        values = np.geomspace(1, 3 * c, min(shape))
        values[-2:] = c * (1 + share), c * (1 - share)
        v = draw.uniform(size=shape[1])
        P = matrix(draw, shape, values)
        assert error(form, v, P) < rounding(shape, share) < 1
        values[-1] = c * (1 + share)  # kept: the result is another
        other = matrix(np.random.default_rng(seed), shape, values)
        assert np.abs(literal(v, other) - literal(v, P)).max() > 1e-2 * np.abs(literal(v, P)).max()


def predictions(kind, draw, U=448, C=10):
    """Probabilities, (U, C), of networks in different states."""
    logits = draw.normal(size=(U, C))
    if kind == "sure":
        logits = 1000 * np.eye(C)[np.arange(U) % C]  # as many of each class: eigenvalues tie
    elif kind == "nearly sure":
        logits = 12 * np.eye(C)[np.arange(U) % C] + logits
    elif kind == "all the same":
        logits[:] = logits[0]
    elif kind == "two classes alone":
        logits[:, 2:] = -1000
    elif kind == "a class twice":
        logits[:, 1] = logits[:, 0]
    P = np.exp(logits - logits.max(1, keepdims=True))
    P /= P.sum(1, keepdims=True)
    if kind == "empty rows":
        P[::3] = 0
    return P


KINDS = ["unsure", "sure", "nearly sure", "all the same", "two classes alone", "a class twice", "empty rows"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions(kind, classes, form):
    draw = np.random.default_rng(0)
    for rows in (448, 21):
        P = predictions(kind, draw, rows, classes)
        assert error(form, draw.dirichlet(np.ones(classes)), P) < 1e-9


def test_products_are_the_same_calls_whatever_the_values():
    v, seen = torch.ones(10, dtype=torch.float64), []
    for kind in KINDS:
        P = torch.from_numpy(predictions(kind, np.random.default_rng(0)))
        with DeviceCalls("cpu") as calls:
            by_products(v, P)
        seen.append(calls.operators["other"])
    assert all(operators == seen[0] for operators in seen)
    products = {"mm", "mv", "addmm", "addmv", "dot"}
    assert seen[0].keys() <= products | {"eye", "trace", "mul", "div", "sub"}  # nothing that looks at a value
    assert seen[0].total() <= 150


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_a_number_comes_back(form):
    P = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    P[2, 1] = torch.nan
    assert form(torch.ones(3, dtype=torch.float64), P).isnan().any()
