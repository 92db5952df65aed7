"""What the program knows of ADELLO without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and ADELLO's own."""

    alpha_min: float = setting(0.1, "exponent of the target distribution at the end of training", at_least=0, at_most=1)
    alpha_k: float = setting(2.0, "power of the exponent's fall; with a larger one it falls later", symbol="k", above=0)
    ema_p: float = setting(
        0.999, "momentum of the unlabeled images' class distribution", at_least=0, at_most=1, other=0.5
    )
    exclude_labeled: bool = setting(
        False, "labeled images that are also unlabeled images do not count for the distribution"
    )
    lambda_distill: float = setting(
        1.0, "weight of the loss of rows below the threshold; 0: FlexDA alone, without it", at_least=0
    )
    distill_start: float = setting(
        0.1907, "steps before that loss begins, or below 1 as a share of training", at_least=0, other=6
    )
    distill_temperature: float = setting(1.0, "temperature of that loss", symbol="T", above=0)
    distill_inferred: bool = setting(
        False, "replace distill_temperature by the unevenness of the distribution when that loss begins"
    )


CARDS = (
    Card(
        name="adello",
        title="ADELLO",
        kind=BASE,
        paper="Sanchez Aimar, Helgesen, Xu, Kuhlmann, Felsberg: Flexible Distribution Alignment: Towards Long-tailed "
        "Semi-supervised Learning with Proper Calibration",
        venue="ECCV 2024, arXiv 2306.04621",
        method="cissl.algorithms.adello.method:ADELLO",
        settings=Settings,
        slots=SLOTS,
        short={"confidence": 0.2, "distill_start": 2, "ema_p": 0.9},
        differs="""\
Learning rate, schedule, weight decay and moving average are those of all methods; the authors also decay BatchNorm's
weights. There are 7 unlabeled images for each labeled one; the authors use 2. The strong view is the trial's,
CTAugment by default; the authors use RandAugment. Distillation starts at the authors' share of the training, step 50
000 of 262 144. In the authors' program the paper's temperature (distill_inferred) acts only if distill_T is given, and
no released configuration gives it. The default here is theirs, temperature 1. Their distill_complement: false is
lambda_distill: 0. A resumed trial continues with its distribution and temperature, which the authors' program loses.
The split decides whether labeled images are also unlabeled images.""",
    ),
)
