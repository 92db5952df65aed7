"""What the program knows of TRAS without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """TRAS's settings."""

    confidence: float = setting(
        0.95, "TRAS: threshold of the second head's pseudo-labels", symbol="τ", at_least=0, at_most=1
    )
    A: float = setting(
        2.0, "TRAS: how much more strongly the rarest class is adjusted than the others", symbol="A", at_least=0
    )
    B: float = setting(2.0, "TRAS: strength with which every class is adjusted", symbol="B", at_least=0)
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
One strong view for each unlabeled image instead of two, and one forward pass over all views, hence one set of
BatchNorm statistics, instead of four passes. Nesterov SGD with the schedule of all methods instead of Adam with a
hand-made decay. 448 unlabeled images a step instead of 64. Labeled images are among the unlabeled ones, as the split
says. The labeled images of each class are counted, where the authors run once through a loader that leaves out the last
incomplete batch. The warm-up is the authors' share of the training, 11 of 500 epochs. Adjustments are computed in
float64 and added in the network's type. Beside other bases than FixMatch it adjusts what the base makes its
pseudo-labels of.""",
    ),
)
