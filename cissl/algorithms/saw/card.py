"""What the program knows of SAW without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """SAW's settings."""

    scheme: str = setting(
        "effective",
        "SAW: rule from counts to weights: effective number of samples, power, or two that favour frequent classes",
        choices=("effective", "power", "minority", "total"),
    )
    constant: float = setting(
        0.99, "SAW: the scheme's constant; for effective it is β, and 1 means (m − 1)/m with m the mean count", above=0
    )
    normalize: float = setting(1.0, "SAW: mean of the class weights; 0 leaves them as they are", at_least=0)
    epoch: float = setting(
        0.002, "SAW: steps between two estimates of the weights, or below 1 as a share of training", above=0
    )


CARDS = (
    Card(
        name="saw",
        title="SAW",
        kind=ADD_ON,
        paper="Lai, Wang, Gunawan, Cheung, Chuah: Smoothed Adaptive Weighting for Imbalanced Semi-Supervised Learning: "
        "Improve Reliability Against Unknown Distribution Data",
        venue="ICML 2022, PMLR 162",
        method="cissl.algorithms.saw.method:SAW",
        settings=Settings,
        fills=("labeled", "unlabeled"),
        short={"saw.epoch": 3, "saw.constant": 0.7},
        differs="""\
Each unlabeled image has one strong view; the authors use two. One forward pass covers all views, so that they share
one set of BatchNorm statistics. The optimizer is Nesterov SGD with the schedule of all methods; the authors use Adam
and a weight decay of their own. A step has 448 unlabeled images; the authors use 64. The split decides whether labeled
images are also unlabeled images; by default they are. An epoch is the authors' share of the training, 1 of 500. Its
weights follow the table directly after its last step, which is the same as after the evaluation that the authors make
there. Weights are computed in float64, because the authors' float32 loses digits if β is close to 1. A class without
images counts as one image if a scheme raises its own count to a power or divides by it: in effective, as in the
authors' program, and in power, where that program divides by zero. In sums and means such a class counts as 0, and
also in minority, which gives it the weight 0, and in total. With constant: 1, β is 0 if the mean count is below 1; in
the authors' program it is negative.""",
    ),
)
