"""What the program knows of RDA without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """RDA's settings; it has no threshold."""

    nb: int = setting(128, "latest batches whose mean predictions count", symbol="N", at_least=1, other=2)
    row_normalised: bool = setting(
        False, "the reverse head's targets are distributions; else they sum to 1 over the whole batch"
    )


CARDS = (
    Card(
        name="rda",
        title="RDA",
        kind=BASE,
        paper="Duan, Qi, Wang, Zhou, Shi: RDA: Reciprocal Distribution Alignment for Robust Semi-supervised Learning",
        venue="ECCV 2022, arXiv 2208.04619",
        method="cissl.algorithms.rda.method:RDA",
        settings=Settings,
        slots=("labeled", "unlabeled", "predict", "stages"),
        differs="""\
The strong view is the trial's, CTAugment by default, where the authors have RandAugment. The weight decay's
exceptions are those of all methods. The authors report the best test accuracy; here it is the mean of the last
evaluations. Complementary labels are drawn by the trial's own generator. As in the authors' program the reverse
head's targets sum to 1 over the whole batch, so that its unlabeled loss is about U times smaller than a
cross-entropy; row_normalised: true takes distributions. A resumed trial goes on with the means of the latest
batches, which the authors' program starts anew. It aligns predictions itself and keeps all pseudo-labels, so that
add-ons that change either are refused.""",
    ),
)
