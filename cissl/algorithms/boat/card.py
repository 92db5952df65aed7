"""What the program knows of BOAT without importing torch."""

import dataclasses

from cissl.algorithms.acr.card import TwoHeadSettings
from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TwoHeadSettings):
    """BOAT's settings."""

    emap: float = setting(0.999, "momentum of both heads' class priors", at_least=0, at_most=1, other=0.5)
    tau: float = setting(1.0, "strength with which the balanced head's pseudo-labels are adjusted", at_least=0)
    tau2: float = setting(2.0, "strength of the balanced head's labeled adjustment", at_least=0)
    tau3: float = setting(2.0, "strength of the plain head's labeled adjustment", at_least=0)
    tau4: float = setting(1.0, "strength of the adjustment in the weights of pseudo-labels", at_least=0)
    tw: float = setting(1.0, "temperature of the weights of pseudo-labels", above=0)
    tau_b: float = setting(2.0, "strength with which predictions are adjusted", at_least=0, other=500.0)


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
Learning rate, schedule, weight decay and moving average are those of all methods; 7 unlabeled images for each
labeled one instead of 1. The strong views are the trial's, CTAugment by default, where the authors have
RandAugment. The labeled images of each class are counted, where the authors run once through a loader that leaves
out the last incomplete batch. tau4 is that of the authors' commands; their program's default is 2. For CIFAR-100
they take tau 2. A resumed trial goes on with all four running means; the authors' program starts two of them anew.
The balanced head starts like the other heads here: Xavier normal, bias 0. The weight wu is 1 in their program.
Labeled images among the unlabeled ones count for both priors.""",
    ),
)
