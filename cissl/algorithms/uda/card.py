"""What the program knows of UDA without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """UDA's settings, under the names of FixMatch's authors' program."""

    confidence: float = setting(0.8, "threshold of the predictions that are targets", symbol="β", at_least=0, at_most=1)
    temperature: float = setting(0.4, "temperature that sharpens those predictions", symbol="τ", above=0)
    we: float = setting(0.0, "weight of the entropy of predictions on weak views", at_least=0)
    tsa: str = setting(
        "no",
        "training signal annealing: schedule of the largest true-class probability with which a labeled row counts",
        choices=("no", "linear", "exp", "log"),
    )
    tsa_pos: int = setting(
        8,
        "length of this schedule: 2^tsa_pos labeled images for each 1024 of the training; 8 is a quarter",
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
This follows the program of FixMatch's authors, with the threshold and temperature of UDA's own CIFAR-10 script, 0.8
and 0.4; the defaults of that program are 0.95 and 1. A prediction at the threshold counts; in UDA's script it must be
above the threshold. Training signal annealing uses the probability of the true class and divides by the number of rows
that count; the USB library uses the largest probability and divides by all rows. The annealing follows the length of
the training, up to 2^14 · 1024 images. Targets are distributions and not classes, so an add-on that decides which
classes are kept has no slot here.""",
    ),
)
