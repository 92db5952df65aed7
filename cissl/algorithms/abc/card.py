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
One strong view for each unlabeled image instead of two; ABC's loss is a sum over the strong views, so its weight is
that of one view. One forward pass over all views, hence one set of BatchNorm statistics, instead of four passes.
Nesterov SGD with the schedule of all methods instead of Adam with a hand-made decay. Labeled images are among the
unlabeled ones, as the split says. The keep rates take the smallest class count, where the authors take the last
class's: the same for classes in order of size. The ramp follows the progress of the trial, step by step, where the
authors' moves once an epoch of 500 steps. The head's start: Xavier normal, bias 0, as in the authors' program.""",
    ),
)
