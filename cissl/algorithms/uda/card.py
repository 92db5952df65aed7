"""What the program knows of UDA without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """UDA's settings, under the names of FixMatch's authors' program."""

    confidence: float = setting(
        0.8, "threshold of the predictions that are followed", symbol="β", at_least=0, at_most=1
    )
    temperature: float = setting(0.4, "temperature that sharpens those predictions", symbol="τ", above=0)
    we: float = setting(0.0, "weight of the entropy of predictions on weak views", at_least=0)
    tsa: str = setting(
        "no",
        "training signal annealing: how the highest probability rises at which a labeled row counts",
        choices=("no", "linear", "exp", "log"),
    )
    tsa_pos: int = setting(
        8,
        "it rises over 2^tsa_pos labeled images for each 1024 of the training: 8 for a quarter",
        at_least=0,
        at_most=32,
        other=12,
    )


CARDS = (
    Card(
        name="uda",
        title="UDA",
        kind=BASE,
        paper="Xie, Dai, Hovy, Luong, Le: Unsupervised Data Augmentation for Consistency Training",
        venue="NeurIPS 2020, arXiv 1904.12848",
        method="cissl.algorithms.uda.method:UDA",
        settings=Settings,
        slots=("labeled", "guess", "unlabeled", "predict", "stages"),
        short={"confidence": 0.25, "tsa": "linear"},
        differs="""\
The program of FixMatch's authors is followed, with the threshold and temperature of UDA's own CIFAR-10 script (0.8 and
0.4; that program's defaults are 0.95 and 1). A prediction at the threshold counts, where UDA's script asks for more.
Training signal annealing looks at the probability of the true class and divides by the rows that count; the USB library
looks at the largest probability and divides by all rows. Its length follows the whole training, of which all above
2^14 · 1024 images are left out. Targets are distributions and not classes: an add-on that decides which classes are
kept has no place here.""",
    ),
)
