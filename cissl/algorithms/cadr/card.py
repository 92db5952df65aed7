"""What the program knows of CAP, CAI and the doubly robust term without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting

_PAPER = "Hu, Niu, Miao, Hua, Zhang: On Non-Random Missing Labels in Semi-Supervised Learning"
_VENUE = "ICLR 2022, arXiv 2206.14923"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CapSettings:
    """Settings of Class-Aware Propensity."""

    cap_ema: bool = setting(True, "CAP: estimate the propensity from the class prior's moving average", plain=True)
    upper: float = setting(5.0, "CAP: upper clip of the inverse weights", symbol="u", above=0, plain=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaiSettings:
    """Settings of Class-Aware Imputation. The doubly robust term uses the same thresholds."""

    cai_beta: float = setting(
        0.5,
        "CAI: exponent of the class-aware threshold",
        symbol="β",
        at_least=0,
        plain=True,
        other=4.0,
        acts_with={"confidence": 0.3, "cap_ema_momentum": 0.0, "lr": 0.02},
    )


CARDS = (
    Card(
        name="cap",
        title="CAP",
        kind=ADD_ON,
        paper=_PAPER,
        venue=_VENUE,
        method="cissl.algorithms.cadr.method:CAP",
        settings=CapSettings,
        fills=("labeled",),
        reads=("cap_ema_momentum",),
    ),
    Card(
        name="cai",
        title="CAI",
        kind=ADD_ON,
        paper=_PAPER,
        venue=_VENUE,
        method="cissl.algorithms.cadr.method:CAI",
        settings=CaiSettings,
        fills=("select",),
        reads=("confidence", "cap_ema_momentum"),
    ),
    Card(
        name="dr",
        title="DR",
        kind=ADD_ON,
        paper=_PAPER,
        venue=_VENUE,
        method="cissl.algorithms.cadr.method:DoublyRobust",
        settings=CaiSettings,
        fills=("labeled",),
        needs=("cap",),
        reads=("confidence", "cap_ema_momentum"),
    ),
)
