"""v · pinv(P) with a cut-off, in two forms: by eigenvalues, and by products of matrices alone.

Notation: P, (U, C); G = PᵀP, (C, C), symmetric; λ, q = its eigenvalues, P's singular values squared, and their
eigenvectors; c = cut-off, 10 · max(U, C) · ε_float32. As in the reference, λ is kept where it is above c² · max λ, and
dropped elsewhere. v · pinv(P) = P · (sum over kept λ of q qᵀ / λ) · v.

Both compute in float64. Its rounding, about 1e-16 of the largest λ, is far below the smallest kept one, and G has C
rows instead of U.

An eigenvalue solver looks at values as it goes: torch's makes the host wait for a GPU, and no CUDA graph can hold it.
The second form is for compiled steps. It is one fixed sequence of products for each shape of P:

1. The largest eigenvalue from G to the power 2²⁴, by repeated squaring.
2. E = I − G / max λ, and its squares of squares Eᵏ, k = 1, 2, 4, …: the power m at which (1 − c²)ᵐ is near 1/2 tells
   kept eigenvalues (below) from dropped ones (above).
3. Odd polynomials push what is below to 1 and what is above to −1: the matrix sign function, hence the projection on
   the kept eigenvectors (Higham, Functions of Matrices, 2008, chapter 5).
4. There 1 / λ = (1 + e)(1 + e²)(1 + e⁴)… / max λ with e = 1 − λ / max λ, and the powers of E are those of point 2.
"""

import dataclasses
import math

import torch
from torch import Tensor

FLOAT32_EPS = torch.finfo(torch.float32).eps
SQUARINGS = 24  # of G; of eigenvalues that tie for the largest it tells those more than about 1e-7 apart
FURTHER = 6  # squarings of E behind the cut-off: what is left of the product, about (1/2)¹²⁸, is beyond float64
FOLD = 0.1  # the polynomials leave every eigenvalue that has come this far above a quarter of the largest


def cut_off(shape: tuple[int, ...]) -> float:
    """Smallest singular value of a matrix of this shape that is kept, as a share of the largest."""
    return 10 * max(shape) * FLOAT32_EPS


def by_eigenvalues(v: Tensor, P: Tensor) -> Tensor:
    """v · pinv(P), (U,) float64. On a GPU the host waits.

    Args:
        v: (C,) float64.
        P: (U, C) float64.
    """
    # A diverged network's NaN, which LAPACK would answer with an error of its own, comes back through P below.
    squares, vectors = torch.linalg.eigh((P.T @ P).nan_to_num(0.0))  # squared singular values, ascending
    kept = squares > cut_off(P.shape) ** 2 * squares[-1]
    inverse_squares = torch.where(kept, 1 / squares.where(kept, torch.ones_like(squares)), 0.0)
    weights: Tensor = P @ (vectors @ (inverse_squares * (vectors.T @ v)))
    return weights


def by_products(v: Tensor, P: Tensor) -> Tensor:
    """The same, (U,) float64, in calls that no value changes.

    It is as accurate as the other form. Only an eigenvalue whose distance from the cut-off is below about ε_float32 of
    the cut-off itself may be kept in part; both forms and the reference round the cut-off more than that.

    Args:
        v: (C,) float64.
        P: (U, C) float64, not 0.
    """
    plan = _plan(P.shape)
    if len(P) < P.shape[1]:
        return _solve_kept(P @ P.T, P @ v, plan)  # P · f(PᵀP) = f(PPᵀ) · P, for the smaller matrix of the two
    return P @ _solve_kept(P.T @ P, v, plan)


def _solve_kept(G: Tensor, v: Tensor, plan: "_Plan") -> Tensor:
    """Sum over kept λ of q qᵀ v / λ; steps 1 to 4."""
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
    solution = torch.addmv(solution, sign, solution, beta=0.5, alpha=0.5)  # without what rounding put into dropped ones
    return solution / largest


def _largest_eigenvalue(G: Tensor) -> Tensor:
    """Of a symmetric matrix without negative eigenvalues; scalar."""
    power = G / G.trace()
    for _ in range(SQUARINGS // 6):
        power = torch.linalg.matrix_power(power, 2**6)  # no more at once: its trace may be C⁻⁶⁴
        power = power / power.trace()
    return torch.dot(G.flatten(), power.flatten())


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What `by_products` does with matrices of one shape.

    Attributes:
        doublings: k such that E to the power 2ᵏ is near 1/2 at the cut-off.
        level: its value there.
        polynomials: linear and cubic coefficient (a, b) of each a·x − b·x³.
    """

    doublings: int
    level: float
    polynomials: list[tuple[float, float]]


def _plan(shape: tuple[int, ...]) -> _Plan:
    share = cut_off(shape) ** 2
    doublings = round(math.log2(math.log(2) / share))
    level = math.exp(2**doublings * math.log1p(-share))
    slope = 2**doublings * share * level  # of the level, by the eigenvalue's logarithm
    return _Plan(doublings, level, _polynomials(slope * FLOAT32_EPS))


def _polynomials(smallest: float) -> list[tuple[float, float]]:
    """Cubics that push all x in [−1, 1] to its sign, in turn, but for those nearer to 0 than `smallest`.

    Each takes [l, 1] to the narrowest [l', 1], by the same value at both ends. As long as l is below `FOLD`, it does so
    for `FOLD` in its place: then what is near 1 stays far from 0, where rounding would turn it over.
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
