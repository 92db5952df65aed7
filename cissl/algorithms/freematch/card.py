"""What the program knows of FreeMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """FreeMatch's settings. It has no fixed threshold."""

    ema_p: float = setting(
        0.999, "momentum of the threshold and of both class means", symbol="λ", at_least=0, at_most=1
    )
    ent_loss_ratio: float = setting(0.001, "weight of the fairness term", symbol="w_f", at_least=0)
    use_quantile: bool = setting(False, "the threshold follows the 0.8 quantile of confidences instead of their mean")
    clip_thresh: float = setting(
        1.0, "upper bound of the threshold; 0.95 in the authors' option", at_least=0, at_most=1, other=0.1
    )
    temperature: float = setting(0.0, "temperature of soft pseudo-labels; 0 for hard ones", symbol="T", at_least=0)


CARDS = (
    Card(
        name="freematch",
        title="FreeMatch",
        kind=BASE,
        paper="Wang, Chen, Heng, Hou, Fan, Wu, Wang, Savvides, Shinozaki, Raj, Schiele, Xie: FreeMatch: Self-adaptive "
        "Thresholding for Semi-supervised Learning",
        venue="ICLR 2023, arXiv 2205.07246",
        method="cissl.algorithms.freematch.method:FreeMatch",
        settings=Settings,
        slots=("labeled", "guess", "unlabeled", "predict", "stages"),
        short={"ema_p": 0.5, "ent_loss_ratio": 0.05},
        differs="""\
The strong view is the trial's, CTAugment by default; the authors use RandAugment. BatchNorm, weight decay, schedule
and moving average are those of all methods. ent_loss_ratio is that of the authors' CIFAR settings; the default of
their program is 0.01. Their hard_label: false with T is temperature: T here, and their clip_thresh: true is
clip_thresh: 0.95. An add-on at the slot guess, such as DARP, also changes the probabilities that the thresholds are
made from.""",
    ),
)
