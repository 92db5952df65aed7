"""What the program knows of BOAT without importing torch."""

import dataclasses

from cissl.algorithms.acr.card import TwoHeadSettings
from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TwoHeadSettings):
    """BOAT's settings."""

    emap: float = setting(0.999, "momentum of both heads' class priors", at_least=0, at_most=1, other=0.5)
    tau: float = setting(1.0, "strength of the adjustment of the balanced head's pseudo-labels", at_least=0)
    tau2: float = setting(2.0, "strength of the balanced head's labeled adjustment", at_least=0)
    tau3: float = setting(2.0, "strength of the plain head's labeled adjustment", at_least=0)
    tau4: float = setting(1.0, "strength of the adjustment in the weights of pseudo-labels", at_least=0)
    tw: float = setting(1.0, "temperature of the weights of pseudo-labels", above=0)
    tau_b: float = setting(2.0, "strength of the adjustment of predictions", at_least=0, other=500.0)


CARDS = (
    Card(
        name="boat",
        title="BOAT",
        kind=BASE,
        paper="Gan, Wei: Boosting Consistency in Dual Training for Long-Tailed Semi-Supervised Learning",
        venue="arXiv 2406.13187",
        method="cissl.algorithms.boat.method:BOAT",
        settings=Settings,
        slots=("stages",),
        short={"confidence": 0.3, "emap": 0.9},
        differs="""\
Learning rate, schedule, weight decay and moving average are those of all methods. There are 7 unlabeled images for
each labeled one; the authors use 1. The strong views are the trial's, CTAugment by default; the authors use
RandAugment. All labeled images of each class are counted; the authors run once through a loader that drops the last
incomplete batch. tau4 is that of the authors' commands; the default of their program is 2. For CIFAR-100 they use tau
2. A resumed trial continues with all four running means; the authors' program resets two of them. The balanced head
starts like the other heads here, with Xavier normal weights and bias 0. In the authors' program the weight wu is fixed
at 1. Labeled images that are also unlabeled images count for both priors.""",
    ),
)
