"""What the program knows of DeFixMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and DeFixMatch's own."""

    wu: float = setting(0.5, "weight of the unlabeled loss and of the subtracted loss", symbol="λ", at_least=0)
    temperature: float = setting(0.0, "temperature of soft pseudo-labels; 0 for hard ones", symbol="T", at_least=0)
    variant: str = setting(
        "debiased",
        "debiased: the method; modified: without the subtracted loss, but labels train strong views too; fixmatch: "
        "FixMatch",
        choices=("debiased", "modified", "fixmatch"),
    )


CARDS = (
    Card(
        name="defixmatch",
        title="DeFixMatch",
        kind=BASE,
        paper="Schmutz, Humbert, Mattei: Don't fear the unlabelled: safe semi-supervised learning via debiasing",
        venue="ICLR 2023, arXiv 2203.07512",
        method="cissl.algorithms.defixmatch.method:DeFixMatch",
        settings=Settings,
        slots=("labeled", "stages"),
        short={"confidence": 0.2},
        differs="""\
The strong view is the trial's, CTAugment by default; the authors use RandAugment. The parameters without weight decay
are those of all methods. The reported figure is the mean of the last evaluations; the authors report the best test
accuracy. Their fine-tuning of a trained FixMatch is not offered, because it begins from the checkpoint that is best on
test images. Their temperature 0.5 acts on soft labels alone (hard_label: false); here this is temperature: 0.5. The
split decides whether labeled images are also unlabeled images. Add-ons that change pseudo-labels or weight their loss
are refused, because the subtracted loss would have to change in the same way.""",
    ),
)
