"""What the program knows of CDMAD without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """CDMAD's settings."""

    confidence: float = setting(0.0, "threshold of the pseudo-labels; 0 keeps all", symbol="τ", at_least=0, at_most=1)
    debias_start: float = setting(
        0.202, "steps before debiasing starts, or below 1 as a share of training", at_least=0, other=3
    )


CARDS = (
    Card(
        name="cdmad",
        title="CDMAD",
        kind=BASE,
        paper="Lee, Kim: CDMAD: Class-Distribution-Mismatch-Aware Debiasing for Class-Imbalanced Semi-Supervised "
        "Learning",
        venue="CVPR 2024, arXiv 2403.10391",
        method="cissl.algorithms.cdmad.method:CDMAD",
        settings=Settings,
        slots=("unlabeled", "stages"),
        short={"debias_start": 1, "confidence": 0.12},
        differs="""\
This is the authors' FixMatch variant; their ReMixMatch variant is not offered. Every view is a separate batch for
BatchNorm, as in their program. All pixels of the blank image have the value 1. Here, where pixels are from −1 to 1,
this is white; in the authors' normalised pixels it is a light gray. The blank image has the size of the data set's
images; the authors' is always 32×32. The optimizer is Nesterov SGD with the schedule and weight decay of all methods;
the authors use Adam with a decay that also shrinks BatchNorm's averages. The averaged network shares BatchNorm's
averages with the trained one and does not average them again. There are 7 unlabeled images for each labeled one; the
authors use 2. Debiasing starts at the authors' share of the training, 101 of 500 epochs. The strong views are the
trial's, CTAugment by default; the authors use RandAugment.""",
    ),
)
