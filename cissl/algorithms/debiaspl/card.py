"""What the program knows of DebiasPL without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and DebiasPL's own."""

    tau: float = setting(0.4, "strength of the debiasing of pseudo-labels, and of the margin in their loss", at_least=0)
    qhat_m: float = setting(0.999, "momentum of the mean prediction", symbol="m", at_least=0, at_most=1, other=0.5)
    lambda_cld: float = setting(
        0.0, "weight of the loss on groups of rows (CLD); 0.3 in the authors' option", at_least=0
    )
    multiviews: bool = setting(
        False, "use two weak and two strong views; labels come from each weak view and from the mean of both"
    )
    eman: bool = setting(False, "the averaged network predicts the weak views, in evaluation mode")


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
The authors' program trains on ImageNet alone, with tau 1, confidence 0.7, wu 10, 5 unlabeled images for each labeled
one and, in most runs, eman: true. The defaults here are those that later programs use on CIFAR: FixMatch's, with tau
0.4. The strong views are the trial's, CTAugment by default; the authors use RandAugment. Optimizer, schedule, length
and moving average are those of all methods. Several workers share one mean prediction; in the authors' program each
process has its own. A resumed trial continues with its mean prediction; the authors' program resets it. Their option
--masked-qhat is not offered, because its mean is wrong. No add-on combines with multiviews, which gives each image
three pseudo-labels.""",
    ),
)
