"""What the program knows of FlexMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and FlexMatch's own."""

    thresh_warmup: bool = setting(True, "count images that were never confident when learning effects are compared")
    hard_label: bool = setting(True, "pseudo-labels are classes; else the weak view's probabilities")


CARDS = (
    Card(
        name="flexmatch",
        title="FlexMatch",
        kind=BASE,
        paper="Zhang, Wang, Hou, Wu, Wang, Okumura, Shinozaki: FlexMatch: Boosting Semi-Supervised Learning with "
        "Curriculum Pseudo Labeling",
        venue="NeurIPS 2021, arXiv 2110.08263",
        method="cissl.algorithms.flexmatch.method:FlexMatch",
        settings=Settings,
        slots=("labeled", "guess", "unlabeled", "predict", "stages"),
        short={"confidence": 0.3},
        differs="""\
The strong view is the trial's, CTAugment by default, where the authors have RandAugment. With several workers the
images' classes are gathered, so that there is one table; the authors' processes have one each. Where an image stands
twice in a batch, its later confident row counts, on GPUs too. N counts labeled images that are among the unlabeled
ones. The temperature of soft labels, which the authors' program reads and never uses, is left out.""",
    ),
)
