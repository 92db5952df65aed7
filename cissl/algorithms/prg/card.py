"""What the program knows of PRG without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """PRG's settings."""

    last: bool = setting(False, "PRG: PRG^Last, guided by an image's previous class instead of its current one")
    alpha: float | None = setting(
        None, "PRG: weight of an unchanged class; by default 1, and 3 with last", symbol="α", above=0, other=0.01
    )
    nb: int = setting(
        128, "PRG: number of latest batches whose changes of class count", symbol="N", at_least=1, other=2
    )
    temperature: float = setting(1.0, "PRG: temperature of the predictions that are guided", symbol="T", above=0)
    hard_label: bool = setting(
        True, "PRG: the base makes its labels from the guided probabilities; false: these are the labels"
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
The strong view is the trial's, CTAugment by default; the authors use RandAugment. Every image is seen equally often;
the authors draw with replacement. The parameters without weight decay are those of all methods. The reported figure is
the mean of the last evaluations; the authors report the best test accuracy. Several workers share one table of classes
and one matrix; in the authors' program each process has its own. A resumed trial continues with both; the authors'
program resets them. With another base than FixMatch, PRG guides the probabilities that the base makes its
pseudo-labels from.""",
    ),
)
