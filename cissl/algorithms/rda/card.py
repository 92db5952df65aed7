"""What the program knows of RDA without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """RDA's settings. It has no threshold."""

    nb: int = setting(128, "number of latest batches whose mean predictions count", symbol="N", at_least=1, other=2)
    row_normalised: bool = setting(
        False, "each target of the reverse head sums to 1; false: all targets of the batch together sum to 1"
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
The strong view is the trial's, CTAugment by default; the authors use RandAugment. The parameters without weight decay
are those of all methods. The reported figure is the mean of the last evaluations; the authors report the best test
accuracy. Complementary labels are drawn by the trial's own generator. The targets of the reverse head sum to 1 over
the whole batch, as in the authors' program, so that its unlabeled loss is about U times smaller than a cross-entropy.
With row_normalised: true its targets are distributions. A resumed trial continues with the means of the latest
batches; the authors' program resets them. RDA aligns predictions itself and keeps all pseudo-labels, so add-ons that
change either are refused.""",
    ),
)
