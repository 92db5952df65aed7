"""What the program knows of FlexMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and FlexMatch's own."""

    thresh_warmup: bool = setting(True, "learning effects also count images that were never predicted with confidence")
    hard_label: bool = setting(True, "pseudo-labels are classes; false: the weak view's probabilities")


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
The strong view is the trial's, CTAugment by default; the authors use RandAugment. With several workers the classes of
all images are gathered in one table; in the authors' program each process has its own. If an image is twice in a
batch, its later confident row counts, also on GPUs. N includes labeled images that are also unlabeled images. The
authors' program reads a temperature of soft labels and never uses it; it is left out.""",
    ),
)
