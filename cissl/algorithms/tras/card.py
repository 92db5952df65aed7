"""What the program knows of TRAS without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """TRAS's settings."""

    confidence: float = setting(
        0.95, "TRAS: threshold of the second head's pseudo-labels", symbol="τ", at_least=0, at_most=1
    )
    A: float = setting(2.0, "TRAS: additional strength of the adjustment of the rarest class", symbol="A", at_least=0)
    B: float = setting(2.0, "TRAS: strength of the adjustment of every class", symbol="B", at_least=0)
    tro: float = setting(1.0, "TRAS: exponent of the class shares of the labeled images in all adjustments", at_least=0)
    warmup: float = setting(
        0.022, "TRAS: steps before the second head learns and predicts, or below 1 as a share of training", at_least=0
    )


CARDS = (
    Card(
        name="tras",
        title="TRAS",
        kind=ADD_ON,
        paper="Wei, Liu, Shi, Tu, Guo: Transfer and Share: Semi-Supervised Learning from Long-Tailed Data",
        venue="Machine Learning (Springer), doi 10.1007/s10994-022-06247-z, arXiv 2205.13358",
        method="cissl.algorithms.tras.method:TRAS",
        settings=Settings,
        fills=("guess", "unlabeled", "predict"),
        short={"tras.confidence": 0.25, "tras.warmup": 3},
        differs="""\
Each unlabeled image has one strong view; the authors use two. One forward pass covers all views, so that they share
one set of BatchNorm statistics; the authors make four passes. The optimizer is Nesterov SGD with the schedule of all
methods; the authors use Adam and a weight decay of their own. A step has 448 unlabeled images; the authors use 64. The
split decides whether labeled images are also unlabeled images; by default they are. All labeled images of each class
are counted; the authors run once through a loader that drops the last incomplete batch. The warm-up is the authors'
share of the training, 11 of 500 epochs. Adjustments are computed in float64 and added in the network's dtype. With
another base than FixMatch, TRAS adjusts the probabilities that the base makes its pseudo-labels from.""",
    ),
)
