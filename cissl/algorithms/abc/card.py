"""What the program knows of ABC without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """ABC's settings."""

    confidence: float = setting(
        0.95, "ABC: threshold of the balanced head's pseudo-labels", at_least=0, at_most=1, other=0.3
    )
    weight: float = setting(1.0, "ABC: weight of both losses of the balanced head", at_least=0)


CARDS = (
    Card(
        name="abc",
        title="ABC",
        kind=ADD_ON,
        paper="Lee, Shin, Kim: ABC: Auxiliary Balanced Classifier for Class-Imbalanced Semi-Supervised Learning",
        venue="NeurIPS 2021, arXiv 2110.10368",
        method="cissl.algorithms.abc.method:ABC",
        settings=Settings,
        fills=("unlabeled", "predict"),
        short={"abc.confidence": 0.12},
        differs="""\
Each unlabeled image has one strong view; the authors use two. ABC's loss is a sum over the strong views, so its weight
is that of one view. One forward pass covers all views, so that they share one set of BatchNorm statistics; the authors
make four passes. The optimizer is Nesterov SGD with the schedule of all methods; the authors use Adam and a weight
decay of their own. The split decides whether labeled images are also unlabeled images; by default they are. The keep
rates use the smallest class count; the authors use the count of the last class, which is the same if classes are in
order of size. The ramp follows the progress of the trial step by step; the authors' ramp moves once per epoch of 500
steps. The head starts as in the authors' program, with Xavier normal weights and bias 0.""",
    ),
)
