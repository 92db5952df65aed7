"""What the program knows of PRG without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """PRG's settings."""

    last: bool = setting(False, "PRG: PRG^Last, guided by an image's previous class instead of its current one")
    alpha: float | None = setting(
        None, "PRG: weight of a class that stays; by default 1, and 3 with last", symbol="α", above=0, other=0.01
    )
    nb: int = setting(128, "PRG: latest batches whose changes of class count", symbol="N", at_least=1, other=2)
    temperature: float = setting(1.0, "PRG: of the predictions that are guided", symbol="T", above=0)
    hard_label: bool = setting(
        True, "PRG: labels are what the base makes of the guided probabilities, FixMatch classes; else these themselves"
    )


CARDS = (
    Card(
        name="prg",
        title="PRG",
        kind=ADD_ON,
        paper="Duan, Zhao, Qi, Zhou, Wang, Shi: Towards Semi-supervised Learning with Non-random Missing Labels",
        venue="ICCV 2023, arXiv 2308.08872",
        method="cissl.algorithms.prg.method:PRG",
        settings=Settings,
        fills=("guess",),
        short={"uratio": 32, "filters": 8},
        differs="""\
The strong view is the trial's, CTAugment by default, where the authors have RandAugment. Every image is seen equally
often, where the authors draw with replacement. The weight decay's exceptions are those of all methods. The authors
report the best test accuracy; here it is the mean of the last evaluations. With several workers there is one table of
classes and one matrix; the authors' processes have one each. A resumed trial goes on with both, which the authors'
program starts anew. Beside other bases than FixMatch, PRG guides what the base makes its pseudo-labels of.""",
    ),
)
