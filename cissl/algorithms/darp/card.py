"""What the program knows of DARP without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting
from cissl.settings import class_shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """DARP's settings."""

    alpha: float = setting(
        2.0, "DARP: of each class the α · q_c most probable images are kept", symbol="α", above=0, other=0.5
    )
    warm: float = setting(
        0.4, "DARP: warm-up without refinement, in steps, or below 1 as a share of training", at_least=0
    )
    epoch: float = setting(0.002, "DARP: length of an epoch, in steps, or below 1 as a share of training", above=0)
    num_iter: int = setting(10, "DARP: refine at every so many steps of an epoch", at_least=1)
    iter_t: int = setting(10, "DARP: rounds of the solver", symbol="T", at_least=1, other=3)
    tol: float = setting(0.1, "DARP: step at which the solver's root finder stops", above=0, other=2.0)
    shares: str = setting(
        "labeled",
        "DARP: class shares assumed of the unlabeled images: labeled, or a number for each class with commas between, "
        "as python -m cissl.estimate gives them",
        symbol="q",
        other="1,1,1,1,1,1,1,1,1,9",
    )

    def __post_init__(self) -> None:
        self.numbers  # noqa: B018 – refuses shares that are none

    @property
    def numbers(self) -> list[float] | None:
        """The given shares; None where labeled images are counted.

        Raises:
            UserError: they are no numbers above 0.
        """
        return class_shares(self.shares, "darp.shares", word="labeled")


CARDS = (
    Card(
        name="darp",
        title="DARP",
        kind=ADD_ON,
        paper="Kim, Hur, Park, Yang, Hwang, Shin: Distribution Aligning Refinery of Pseudo-label for Imbalanced "
        "Semi-supervised Learning",
        venue="NeurIPS 2020, arXiv 2007.08844",
        method="cissl.algorithms.darp.method:DARP",
        settings=Settings,
        fills=("guess",),
        short={"darp.warm": 1, "darp.epoch": 3, "darp.num_iter": 2, "darp.alpha": 1.0, "darp.iter_t": 1},
        differs="""\
One strong view for each unlabeled image instead of two, and one forward pass over all views, hence one set of
BatchNorm statistics. Nesterov SGD with the schedule of all methods instead of Adam with a hand-made decay. 448
unlabeled images a step instead of 64. Labeled images are among the unlabeled ones, as the split says. Accuracy is the
mean of the last evaluations of all methods, not of the last 20 epochs. The warm-up and the epochs are the authors'
shares of the training, 200 and 1 of 500. The authors take num_iter 100, iter_t 20 and tol 0.3 for CIFAR-100 and STL-10.
Images of equal probability are taken in the order of their positions, which the authors leave to an unstable sort. A
root that is not found in 30 iterations ends the authors' program; here the last iterate counts, and the record shows
how many (darp.unsolved). The authors' estimate of the class counts (--est) is a command of its own, python -m
cissl.estimate, whose result darp.shares takes; it is made once, by the averaged network of a complete trial, and not
the mean over those of many epochs.""",
    ),
)
