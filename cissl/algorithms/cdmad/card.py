"""What the program knows of CDMAD without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """CDMAD's settings."""

    confidence: float = setting(0.0, "threshold of the pseudo-labels; 0 keeps all", symbol="τ", at_least=0, at_most=1)
    debias_start: float = setting(
        0.202, "steps before pseudo-labels are debiased, or below 1 as a share of training", at_least=0, other=3
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
It is the authors' FixMatch variant; their ReMixMatch variant is not here. Every view is a batch of its own to
BatchNorm, as in their program. The blank image has the value 1 everywhere: white here, where pixels are from −1 to 1;
in the authors' normalised pixels a light grey. It is as large as the data set's images, not always 32×32. Nesterov
SGD with the schedule and the weight decay of all methods instead of Adam with a decay that also shrinks BatchNorm's
averages; BatchNorm's averages are shared with the averaged network and not averaged once more. 7 unlabeled images for
each labeled one instead of 2. The start of debiasing is the authors' share of the training, 101 of 500 epochs. The
strong views are the trial's, CTAugment by default, where the authors have RandAugment.""",
    ),
)
