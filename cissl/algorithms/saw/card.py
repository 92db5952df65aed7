"""What the program knows of SAW without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """SAW's settings."""

    scheme: str = setting(
        "effective",
        "SAW: how weights follow from counts: effective number of samples, power, or two that favour frequent classes",
        choices=("effective", "power", "minority", "total"),
    )
    constant: float = setting(
        0.99, "SAW: the scheme's constant; of effective it is β, and 1 stands for (m − 1)/m, m the mean count", above=0
    )
    normalize: float = setting(1.0, "SAW: mean of the class weights; 0 leaves them as they are", at_least=0)
    epoch: float = setting(
        0.002, "SAW: how often weights are estimated anew, in steps, or below 1 as a share of training", above=0
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
One strong view for each unlabeled image instead of two, and one forward pass over all views, hence one set of
BatchNorm statistics. Nesterov SGD with the schedule of all methods instead of Adam with a hand-made decay. 448
unlabeled images a step instead of 64. Labeled images are among the unlabeled ones, as the split says. An epoch is the
authors' share of the training, 1 of 500, and its weights follow the table right after its last step, which is the same
as after the evaluation that they make there. Weights are computed in float64; in the authors' float32 they lose digits
where β is close to 1. A class without images counts as one where a scheme raises to or divides by its own count: in
effective, as in the authors' program, and in power, which divides by zero there. Sums and means count it as none, and
so do minority, which gives it the weight 0, and total. With constant: 1, β is 0 where the mean count is below 1, and
not negative as in that program.""",
    ),
)
