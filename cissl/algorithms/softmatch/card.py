"""What the program knows of SoftMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """SoftMatch's settings. It has no threshold."""

    ema_p: float = setting(
        0.999,
        "momentum of the confidences' mean and variance and of the predicted classes",
        symbol="m",
        at_least=0,
        at_most=1,
    )
    n_sigma: float = setting(2.0, "divisor of the standard deviation in the weights", above=0)
    dist_uniform: bool = setting(
        True, "align predictions with equal class shares; false: with the predictions on labeled images"
    )
    per_class: bool = setting(False, "every class has its own mean and variance")
    temperature: float = setting(0.0, "temperature of soft pseudo-labels; 0 for hard ones", symbol="T", at_least=0)


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
The strong view is the trial's, CTAugment by default; the authors use RandAugment. BatchNorm, weight decay, schedule
and moving average are those of all methods. Their hard_label: false with T is temperature: T here. Their flag
dist_align is left out, because their program never reads it: alignment is always on. By default predictions are
aligned with equal class shares, which long-tailed unlabeled images do not have. With dist_uniform: false they are
aligned with the predictions on labeled images, which is no better if labels are missing not at random. The recorded
mask ratio is a mean weight. If all confidences are equal, the variance is held above 0; the authors' program divides 0
by 0. SoftMatch aligns predictions itself, so add-ons that align them are refused.""",
    ),
)
