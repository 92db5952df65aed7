"""What the program knows of DeFixMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and DeFixMatch's own."""

    wu: float = setting(0.5, "weight of the unlabeled loss and of what is subtracted", symbol="λ", at_least=0)
    temperature: float = setting(
        0.0, "of soft pseudo-labels, the weak view's probabilities; 0: classes", symbol="T", at_least=0
    )
    variant: str = setting(
        "debiased",
        "debiased; modified: nothing is subtracted, and labels train strong views too; fixmatch: neither",
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
The strong view is the trial's, CTAugment by default, where the authors have RandAugment. The weight decay's
exceptions are those of all methods. The authors report the best test accuracy; here it is the mean of the last
evaluations. Their fine-tuning of a trained FixMatch, which begins from the checkpoint that is best on test images,
is left out. Their temperature 0.5 acts on soft labels alone (hard_label: false): temperature: 0.5. Where labeled
images are among the unlabeled ones is the split's affair. Add-ons that change pseudo-labels or weigh their loss are
refused: what is subtracted would have to change alike.""",
    ),
)
