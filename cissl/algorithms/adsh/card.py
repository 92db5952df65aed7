"""What the program knows of Adsh without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Adsh's settings; its threshold is the base's `confidence`."""

    epoch: float = setting(
        1 / 512,
        "Adsh: how often thresholds are adapted to all unlabeled images, in steps, or below 1 as a share of training",
        above=0,
    )


CARDS = (
    Card(
        name="adsh",
        title="Adsh",
        kind=ADD_ON,
        paper="Guo, Li: Class-Imbalanced Semi-Supervised Learning with Adaptive Thresholding",
        venue="ICML 2022, PMLR 162",
        method="cissl.algorithms.adsh.method:Adsh",
        settings=Settings,
        fills=("select",),
        reads=("confidence",),
        short={"adsh.epoch": 3},
        differs="""\
One forward pass over all views, hence one set of BatchNorm statistics, instead of three. Nesterov SGD with the schedule
of all methods instead of Adam with a hand-made decay. 448 unlabeled images a step instead of 128. Labeled images are
among the unlabeled ones, as the split says. An epoch is the authors' share of the training, 1 of 512, before each of
which all unlabeled images are looked at; the authors' loader leaves out some. That costs about 7 % of the protocol's
training, and more of a shorter one: give adsh.epoch in steps there. The class whose share of kept predictions all
others follow is the one with most labeled images, of equals the first, where the authors take class 0. A trial that is
resumed goes on with its thresholds, which the authors' program starts anew.""",
    ),
)
