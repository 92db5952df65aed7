"""What the program knows of Adsh without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Adsh's settings. Its threshold is the base's `confidence`."""

    epoch: float = setting(
        1 / 512,
        "Adsh: steps between two adaptations of the thresholds to all unlabeled images, or below 1 as a share of "
        "training",
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
One forward pass covers all views, so that they share one set of BatchNorm statistics; the authors make three passes.
The optimizer is Nesterov SGD with the schedule of all methods; the authors use Adam and a weight decay of their own. A
step has 448 unlabeled images; the authors use 128. The split decides whether labeled images are also unlabeled images;
by default they are. An epoch is the authors' share of the training, 1 of 512. Before each epoch the network predicts
all unlabeled images; the authors' loader drops some of them. This takes about 7 % of the protocol's training time, and
more of a shorter training: there, give adsh.epoch in steps. All classes follow the share of kept predictions of one
class. Here this is the class with the most labeled images, and of equal classes the first; the authors use class 0. A
resumed trial continues with its thresholds; the authors' program resets them.""",
    ),
)
