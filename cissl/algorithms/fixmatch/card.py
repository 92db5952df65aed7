"""What the program knows of FixMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """Settings of every method with FixMatch's views and step. These methods choose pseudo-labels in different ways."""

    uratio: int = setting(7, "unlabeled images per labeled image", symbol="μ", at_least=1, at_most=2**10)
    wu: float = setting(1.0, "weight of the unlabeled loss", symbol="λ", at_least=0)
    cap_ema_momentum: float = setting(
        0.99, "momentum of the class prior (recorded; used by CAP and CAI)", symbol="m", at_least=0, at_most=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """FixMatch's settings. Methods with its threshold share them."""

    confidence: float = setting(0.95, "threshold of the pseudo-labels", symbol="τ", at_least=0, at_most=1)


CARDS = (
    Card(
        name="fixmatch",
        title="FixMatch",
        kind=BASE,
        paper="Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang, Raffel: FixMatch: Simplifying "
        "Semi-Supervised Learning with Consistency and Confidence",
        venue="NeurIPS 2020, arXiv 2001.07685",
        method="cissl.algorithms.fixmatch.method:FixMatch",
        settings=Settings,
        slots=SLOTS,
    ),
)
