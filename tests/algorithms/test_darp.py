"""DARP against loops written from its description."""

import math

import numpy as np
import pytest
import torch

from cissl.algorithms.cards import find
from cissl.algorithms.darp.refinery import filtered, most_probable, secant_roots, solve, target_counts
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.testing import CannedStep, make_facts, make_method


def softmax(rows):
    e = np.exp(rows - rows.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def literal_filter(P, q, alpha):
    N, C = P.shape
    selected = np.zeros((N, C), bool)
    scale = np.zeros(C)
    for c in range(C):
        m = int(np.float32(alpha) * np.float32(q[c]))
        for n in sorted(range(N), key=lambda n: (-P[n, c], n))[:m]:
            selected[n, c] = True
        scale[c] = (q[c] + 1e-6) / (sum(P[n, c] for n in range(N) if selected[n, c]) + 1e-6)
    X = np.array([[P[n, c] * selected[n, c] * scale[c] + 1e-6 for c in range(C)] for n in range(N)])
    return selected, X / X.sum(1, keepdims=True)


def literal_secant(f, start, tolerance):
    a = start
    b = a * (1 + 1e-4) + (1e-4 if a >= 0 else -1e-4)
    fa, fb = f(a), f(b)
    if abs(fb) < abs(fa):
        a, b, fa, fb = b, a, fb, fa
    for _ in range(30):
        if fa == fb:
            assert a == b
            return (a + b) / 2
        if abs(fb) > abs(fa):
            c = (a - fa / fb * b) / (1 - fa / fb)
        else:
            c = (b - fb / fa * a) / (1 - fb / fa)
        if abs(c - b) <= tolerance:
            return c
        a, fa = b, fb
        b, fb = c, f(c)
    raise RuntimeError("not converged")


def literal_solve(F, q, rounds, tolerance):
    N, C = F.shape
    w = [-1 / sum(F[n, c] * math.log(F[n, c] + 1e-6) for c in range(C)) for n in range(N)]
    A, nu = F / math.e, [0.0] * C
    Y = np.array([[math.exp(-1 / w[n])] * C for n in range(N)])
    for _ in range(rounds):
        X = [1 / sum(A[n, c] * Y[n, c] for c in range(C)) for n in range(N)]
        for c in range(C):
            excess = lambda v: sum(A[n, c] * X[n] * math.exp(-v / w[n]) for n in range(N)) - q[c]  # noqa: B023, E731
            nu[c] = literal_secant(excess, nu[c], tolerance)
        Y = np.array([[math.exp(-nu[c] / w[n]) for c in range(C)] for n in range(N)])
    X = [1 / sum(A[n, c] * Y[n, c] for c in range(C)) for n in range(N)]
    return np.array([[A[n, c] * X[n] * Y[n, c] for c in range(C)] for n in range(N)])


def problem(seed, N=30, C=4, sharpness=2.0):
    random = np.random.default_rng(seed)
    P = softmax(sharpness * random.normal(size=(N, C)) - np.arange(C) / 2)
    P[3] = P[7] = P[11] = 1 / C  # never seen
    return P, target_counts(torch.tensor([9, 5, 3, 1][:C]), N)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpha", [0.05, 1.0, 2.0, 100.0])
def test_the_filter_equals_literal_loops(seed, alpha):
    P, q = problem(seed)
    selected, F = literal_filter(P, q.double().numpy(), alpha)
    table = torch.from_numpy(P)
    np.testing.assert_array_equal(most_probable(table, q, alpha), selected)
    np.testing.assert_allclose(filtered(table, q, alpha), F, rtol=1e-12)
    assert alpha != 100 or selected.all()
    assert alpha != 0.05 or not selected.any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rounds, tolerance", [(1, 0.1), (4, 0.1), (3, 0.3), (3, 1e-6)])
def test_the_solver_equals_literal_loops(seed, rounds, tolerance):
    P, q = problem(seed)
    F = filtered(torch.from_numpy(P), q, 2.0)
    refined, unsolved = solve(F, q, rounds=rounds, tolerance=tolerance)
    np.testing.assert_allclose(refined, literal_solve(F.numpy(), q.double().numpy(), rounds, tolerance), rtol=1e-9)
    assert unsolved == 0


def test_rows_sum_to_one_and_columns_to_the_counts_at_last():
    P, q = problem(0, N=200)
    refined, _ = solve(torch.from_numpy(P), q, rounds=200, tolerance=1e-10)
    torch.testing.assert_close(refined.sum(1), torch.ones(200, dtype=torch.float64))
    torch.testing.assert_close(refined.sum(0), q.double(), rtol=1e-6, atol=0)


def test_each_class_stops_by_itself():
    """A class that is done early keeps its iterate, however long others take."""
    functions = [lambda v: v**3 - 20.0, lambda v: 3.0 * v - 6.0, lambda v: math.exp(-v) - 3.0, lambda v: -v]
    together = lambda v: torch.tensor([f(x) for f, x in zip(functions, v.tolist(), strict=True)], dtype=torch.float64)  # noqa: E731
    start = torch.tensor([3.0, 5.0, 0.0, 0.0], dtype=torch.float64)
    for tolerance in (0.5, 0.1, 1e-8):
        roots, found = secant_roots(together, start, tolerance)
        expected = [literal_secant(f, x, tolerance) for f, x in zip(functions, start.tolist(), strict=True)]
        assert roots.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-15) and found.all()


def test_a_root_that_is_not_there_is_told_and_finite():
    roots, found = secant_roots(lambda v: torch.exp(-v), torch.zeros(2, dtype=torch.float64), 1e-3)
    assert not found.any() and roots.isfinite().all()


def literal_steps(method, weak, index, N, C, q, length):
    """Table, refined table and targets of each step; epochs have `length` steps, the first two are warm-up."""
    table, refined, targets = np.full((N, C), 1 / C), np.full((N, C), 1 / C), []
    for number, (logits, rows) in enumerate(zip(weak, index, strict=True)):
        P = softmax(logits)
        for row, p in zip(rows, P, strict=True):
            table[row] = p
        epoch, batch = number // length, number % length
        if epoch <= 1:
            targets.append(P)
            continue
        if batch % method.settings.num_iter == 0:
            refined = literal_solve(literal_filter(table, q, 2.0)[1], q, 3, 0.1)
        targets.append(refined[rows])
    return table, refined, targets


def test_steps_equal_literal_loops():
    random = np.random.default_rng(1)
    N, C, U, length = 20, 3, 8, 5
    settings = {"darp.warm": length, "darp.epoch": length, "darp.num_iter": 3, "darp.iter_t": 3}
    method = make_method("fixmatch+darp", confidence=0.6, **settings)
    facts = make_facts(classes=C, labeled_counts=[6, 3, 1], unlabeled=N, steps=100, dtype=torch.float64)
    weak = [3 * random.normal(size=(U, C)) for _ in range(14)]
    index = [random.integers(0, N - 2, U) for _ in range(14)]  # images twice in a batch, and two never seen
    q = (N * np.array([6, 3, 1]) / 10).astype(np.float32).astype(np.float64)
    table, refined, targets = literal_steps(method.add_ons[0], weak, index, N, C, q, length)
    state, changed = method.state(facts), 0
    for number in range(14):
        logits = torch.from_numpy(weak[number])
        step = CannedStep(
            method,
            facts,
            {"labeled": logits[:2], "weak": logits, "strong": logits},
            torch.tensor([0, 1]),
            state=state,
            number=number,
            index={"unlabeled": torch.from_numpy(index[number])},
        )
        pseudo = step.run().pseudo
        np.testing.assert_allclose(pseudo.probabilities, targets[number], rtol=1e-9)
        np.testing.assert_array_equal(pseudo.classes, targets[number].argmax(1))
        np.testing.assert_array_equal(pseudo.weights, targets[number].max(1) >= 0.6)
        changed += not np.array_equal(targets[number], softmax(weak[number]))
        state = step.after
    assert changed == 4
    np.testing.assert_allclose(state["darp.table"], table, rtol=1e-12)
    np.testing.assert_allclose(state["darp.refined"], refined, rtol=1e-9)


def test_by_default_it_begins_after_two_fifths_of_the_training():
    facts = make_facts(classes=2, steps=131_072)
    settings = make_method("fixmatch+darp").add_ons[0].settings
    length = facts.steps_of(settings.epoch)
    assert length == 262  # of 500 epochs
    assert facts.steps_of(settings.warm) // length == 200  # the last epoch of the warm-up


def test_shares_can_be_given():
    facts = make_facts(classes=3, labeled_counts=[6, 3, 1], unlabeled=20)
    part = make_method("fixmatch+darp", **{"darp.shares": "1, 1,2"}).add_ons[0]
    assert part._target_counts(facts).tolist() == [5, 5, 10]
    assert make_method("darp").add_ons[0]._target_counts(facts).tolist() == [12, 6, 2]


@pytest.mark.parametrize(
    "shares, counts, words",
    [
        ("labeled", [3, 0, 1], ["class 1 has no labeled image", "darp.shares"]),
        ("1,2", [1, 1, 1], ["2 numbers for 3 classes"]),
    ],
)
def test_counts_that_cannot_be_reached_are_refused(shares, counts, words):
    method = make_method("fixmatch+darp", **{"darp.shares": shares})
    with pytest.raises(UserError) as error:
        method.state(make_facts(classes=3, labeled_counts=counts, unlabeled=9))
    assert error.value.key == "darp.shares" and all(word in str(error.value) for word in words)


@pytest.mark.parametrize("shares", ["1,2,0", "1,2,nan", "uniform", "", "1;2", "1,2,-3", "1,,2"])
def test_shares_that_are_no_numbers_are_refused_with_the_settings(shares):
    with pytest.raises(UserError, match=f"'labeled' or numbers above 0 .* not '{shares}'") as error:
        TrialConfig(algorithm="fixmatch+darp", **{"darp.shares": shares})
    assert error.value.key == "darp.shares"


def test_a_method_without_pseudo_labels_is_refused():
    with pytest.raises(UserError, match="Supervised and DARP do not combine"):
        find("supervised+darp")
