"""v · pinv(P) with a cut-off, in two forms: by eigenvalues, and by products of matrices alone.

Notation: P, (U, C); G = PᵀP, (C, C), symmetric; λ eigenvalues of G, which are P's singular values squared; q its
eigenvectors; c cut-off, 10 · max(U, C) · ε_float32. As in the reference, λ is kept if it is above c² · max λ, and else
dropped. v · pinv(P) = P · (sum over kept λ of q qᵀ / λ) · v.

Both forms compute in float64. The rounding error, about 1e-16 of the largest λ, is far below the smallest kept λ, and G
has C rows instead of U.

An eigenvalue solver looks at values: torch's solver makes the host wait for a GPU and cannot be in a CUDA graph. The
second form is for compiled steps. It is one fixed sequence of products for each shape of P:

1. The power 2²⁴ of G gives the largest eigenvalue, by repeated squaring.
2. E = I − G / max λ is squared again and again, which gives Eᵏ for k = 1, 2, 4, …. The power m at which (1 − c²)ᵐ is
   near 1/2 separates kept eigenvalues (below) from dropped ones (above).
3. Odd polynomials move values below to 1 and values above to −1. This is the matrix sign function, and it gives the
   projection on the kept eigenvectors (Higham, Functions of Matrices, 2008, chapter 5).
4. For kept ones 1 / λ = (1 + e)(1 + e²)(1 + e⁴)… / max λ with e = 1 − λ / max λ. The powers of E come from point 2.
"""

import dataclasses
import math

import torch
from torch import Tensor

FLOAT32_EPS = torch.finfo(torch.float32).eps
SQUARINGS = 24  # squarings of G; they separate the largest eigenvalue from those that differ by about 1e-7 of it
FURTHER = 6  # squarings of E after the cut-off; the rest of the product, about (1/2)¹²⁸, is below float64's precision
FOLD = 0.1  # an eigenvalue that has reached this value stays above a quarter of the largest in all later polynomials


def cut_off(shape: tuple[int, ...]) -> float:
    """Cut-off c for a matrix of this shape: singular values are kept above this share of the largest."""
    return 10 * max(shape) * FLOAT32_EPS


def by_eigenvalues(v: Tensor, P: Tensor) -> Tensor:
    """v · pinv(P), (U,) float64. On a GPU the host waits.

    Args:
        v: (C,) float64.
        P: (U, C) float64.
    """
    # LAPACK raises an error for the NaN of a diverged network. Zeros avoid it, and the NaN comes back through P below.
    squares, vectors = torch.linalg.eigh((P.T @ P).nan_to_num(0.0))  # squared singular values, ascending
    kept = squares > cut_off(P.shape) ** 2 * squares[-1]
    inverse_squares = torch.where(kept, 1 / squares.where(kept, torch.ones_like(squares)), 0.0)
    weights: Tensor = P @ (vectors @ (inverse_squares * (vectors.T @ v)))
    return weights


def by_products(v: Tensor, P: Tensor) -> Tensor:
    """v · pinv(P), (U,) float64, in calls that do not depend on any value.

    It is as accurate as the other form. An eigenvalue is kept in part only if its relative distance from the cut-off is
    below about ε_float32. Both forms and the reference round the cut-off more than that.

    Args:
        v: (C,) float64.
        P: (U, C) float64, not 0.
    """
    plan = _plan(P.shape)
    if len(P) < P.shape[1]:
        return _solve_kept(P @ P.T, P @ v, plan)  # P · f(PᵀP) = f(PPᵀ) · P, for the smaller matrix of the two
    return P @ _solve_kept(P.T @ P, v, plan)


def _solve_kept(G: Tensor, v: Tensor, plan: "_Plan") -> Tensor:
    """Sum over kept λ of q qᵀ v / λ: steps 1 to 4."""
    largest = _largest_eigenvalue(G)
    identity = torch.eye(len(G), dtype=G.dtype, device=G.device)
    powers = [identity - G / largest]
    for _ in range(plan.doublings + FURTHER):
        powers.append(powers[-1] @ powers[-1])
    sign = (plan.level * identity - powers[plan.doublings]) / max(plan.level, 1 - plan.level)
    for linear, cubic in plan.polynomials:
        sign = torch.addmm(sign, sign @ sign, sign, beta=linear, alpha=-cubic)
    solution = torch.addmv(v, sign, v, beta=0.5, alpha=0.5)  # the kept part of v
    for power in powers:
        solution = torch.addmv(solution, power, solution)
    solution = torch.addmv(solution, sign, solution, beta=0.5, alpha=0.5)  # drop rounding errors of the dropped part
    return solution / largest


def _largest_eigenvalue(G: Tensor) -> Tensor:
    """Largest eigenvalue of a symmetric matrix without negative eigenvalues; scalar."""
    power = G / G.trace()
    for _ in range(SQUARINGS // 6):
        power = torch.linalg.matrix_power(power, 2**6)  # not a larger power, because its trace can be C⁻⁶⁴
        power = power / power.trace()
    return torch.dot(G.flatten(), power.flatten())


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The numbers that `by_products` uses for matrices of one shape.

    Attributes:
        doublings: k such that E to the power 2ᵏ is near 1/2 at the cut-off.
        level: value of this power at the cut-off.
        polynomials: coefficients (a, b) of each polynomial a·x − b·x³.
    """

    doublings: int
    level: float
    polynomials: list[tuple[float, float]]


def _plan(shape: tuple[int, ...]) -> _Plan:
    share = cut_off(shape) ** 2
    doublings = round(math.log2(math.log(2) / share))
    level = math.exp(2**doublings * math.log1p(-share))
    slope = 2**doublings * share * level  # derivative of the level by the logarithm of the eigenvalue
    return _Plan(doublings, level, _polynomials(slope * FLOAT32_EPS))


def _polynomials(smallest: float) -> list[tuple[float, float]]:
    """Cubic polynomials that in turn move all x in [−1, 1] to their sign, except those nearer to 0 than `smallest`.

    Each maps [l, 1] to the narrowest [l', 1], with the same value at both ends. While l is below `FOLD`, the polynomial
    is made for `FOLD` instead of l. So values near 1 stay far from 0, where rounding could change their sign.
    """
    found = []
    while smallest < 1 - 1e-12:
        near = max(smallest, FOLD)
        ratio = 1 + near + near**2
        cubic = 1.5 / (ratio * math.sqrt(ratio / 3))  # the largest value is 1
        linear = ratio * cubic
        found.append((linear, cubic))
        smallest = linear - cubic if smallest >= FOLD else linear * smallest - cubic * smallest**3
    return found
