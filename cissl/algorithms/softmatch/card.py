"""What the program knows of SoftMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """SoftMatch's settings; it has no threshold."""

    ema_p: float = setting(
        0.999,
        "momentum of the confidences' mean and variance and of the predicted classes",
        symbol="m",
        at_least=0,
        at_most=1,
    )
    n_sigma: float = setting(2.0, "weights fall with the variance divided by the square of this", above=0)
    dist_uniform: bool = setting(
        True, "confidences are of predictions aligned with equal shares of classes; else with those of labeled images"
    )
    per_class: bool = setting(False, "every class has a mean and a variance of its own")
    temperature: float = setting(
        0.0, "of soft pseudo-labels, the weak view's probabilities; 0: classes", symbol="T", at_least=0
    )


CARDS = (
    Card(
        name="softmatch",
        title="SoftMatch",
        kind=BASE,
        paper="Chen, Tao, Fan, Wang, Wang, Schiele, Xie, Raj, Savvides: SoftMatch: Addressing the Quantity-Quality "
        "Trade-off in Semi-supervised Learning",
        venue="ICLR 2023, arXiv 2301.10921",
        method="cissl.algorithms.softmatch.method:SoftMatch",
        settings=Settings,
        slots=("labeled", "unlabeled", "predict", "stages"),
        short={"ema_p": 0.5},
        differs="""\
The strong view is the trial's, CTAugment by default, where the authors have RandAugment. BatchNorm, weight decay,
schedule and moving average are those of all methods. Their hard_label: false with T is temperature: T here; their flag
dist_align, which their program never asks for, is left out: alignment is always on. It is with equal shares of classes
unless dist_uniform: false, which with a long tail is not what the unlabeled images have; and that follows predictions
on labeled images, which with labels that are missing not at random is no better. The mask ratio on record is a mean
weight. Where all confidences are alike the variance is held above 0, where the authors' program divides 0 by 0. It
aligns predictions itself, so that add-ons that do so are refused.""",
    ),
)
