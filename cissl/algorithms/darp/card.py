"""What the program knows of DARP without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting
from cissl.settings import class_shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """DARP's settings."""

    alpha: float = setting(
        2.0, "DARP: each class keeps its α · q_c most probable images", symbol="α", above=0, other=0.5
    )
    warm: float = setting(
        0.4, "DARP: length of the warm-up without refinement, in steps, or below 1 as a share of training", at_least=0
    )
    epoch: float = setting(0.002, "DARP: length of an epoch, in steps, or below 1 as a share of training", above=0)
    num_iter: int = setting(10, "DARP: number of steps of an epoch between two refinements", at_least=1)
    iter_t: int = setting(10, "DARP: rounds of the solver", symbol="T", at_least=1, other=3)
    tol: float = setting(0.1, "DARP: step size at which the solver's root finder stops", above=0, other=2.0)
    shares: str = setting(
        "labeled",
        "DARP: assumed class shares of the unlabeled images: labeled for those of the labeled images, or one number "
        "for each class, separated by commas, as python -m cissl.estimate prints them",
        symbol="q",
        other="1,1,1,1,1,1,1,1,1,9",
    )

    def __post_init__(self) -> None:
        self.numbers  # noqa: B018 – raises if the text has no shares

    @property
    def numbers(self) -> list[float] | None:
        """The class shares that the setting gives. None: the labeled images are counted.

        Raises:
            UserError: the setting is neither ``labeled`` nor a list of numbers above 0.
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
Each unlabeled image has one strong view; the authors use two. One forward pass covers all views, so that they share
one set of BatchNorm statistics. The optimizer is Nesterov SGD with the schedule of all methods; the authors use Adam
and a weight decay of their own. A step has 448 unlabeled images; the authors use 64. The split decides whether labeled
images are also unlabeled images; by default they are. Accuracy is the mean of the last evaluations, as for all
methods; the authors take the mean of the last 20 epochs. The warm-up and the epochs are the authors' shares of the
training, 200 and 1 of 500. For CIFAR-100 and STL-10 the authors use num_iter 100, iter_t 20 and tol 0.3. Images of
equal probability are taken in the order of their positions; the authors use an unstable sort. The authors' program
stops with an error if a root is not found in 30 iterations. Here the last iterate counts, and the records show how
many roots were not found (darp.unsolved). The authors' estimate of the class counts (--est) is a command of its own,
python -m cissl.estimate, and darp.shares takes its result. The averaged network of a complete trial makes this
estimate once; the authors take the mean over many epochs.""",
    ),
)
