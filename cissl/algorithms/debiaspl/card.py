"""What the program knows of DebiasPL without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and DebiasPL's own."""

    tau: float = setting(
        0.4, "strength with which pseudo-labels are debiased, and of the margin in their loss", at_least=0
    )
    qhat_m: float = setting(0.999, "momentum of the mean prediction", symbol="m", at_least=0, at_most=1, other=0.5)
    lambda_cld: float = setting(
        0.0, "weight of the loss on groups of rows (CLD); the authors' option has 0.3", at_least=0
    )
    multiviews: bool = setting(
        False, "two weak and two strong views; labels from each weak view and from the mean of both"
    )
    eman: bool = setting(False, "weak views are seen by the averaged network in evaluation mode")


CARDS = (
    Card(
        name="debiaspl",
        title="DebiasPL",
        kind=BASE,
        paper="Wang, Wu, Lian, Yu: Debiased Learning from Naturally Imbalanced Pseudo-Labels",
        venue="CVPR 2022, arXiv 2201.01490",
        method="cissl.algorithms.debiaspl.method:DebiasPL",
        settings=Settings,
        slots=SLOTS,
        short={"confidence": 0.2, "tau": 1.0, "qhat_m": 0.9},
        differs="""\
The authors' program trains on ImageNet alone: tau 1, confidence 0.7, wu 10, 5 unlabeled images for each labeled one
and mostly eman: true. The defaults here are what later programs take on CIFAR: FixMatch's, and tau 0.4. The strong
views are the trial's, CTAugment by default, where the authors have RandAugment. Optimizer, schedule, length and moving
average are those of all methods. With several workers there is one mean prediction; the authors' processes have one
each. A resumed trial goes on with it, which the authors' program starts anew. Their option --masked-qhat is not
offered: it breaks the mean. No add-on combines with multiviews, which has three pseudo-labels for each image.""",
    ),
)
