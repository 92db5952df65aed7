"""What the program knows of ADELLO without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and ADELLO's own."""

    alpha_min: float = setting(0.1, "exponent of the target distribution at the end of training", at_least=0, at_most=1)
    alpha_k: float = setting(2.0, "the larger, the later the exponent falls", symbol="k", above=0)
    ema_p: float = setting(
        0.999, "momentum of the unlabeled images' class distribution", at_least=0, at_most=1, other=0.5
    )
    exclude_labeled: bool = setting(False, "labeled images among the unlabeled ones do not count for the distribution")
    lambda_distill: float = setting(
        1.0, "weight of the loss of rows below the threshold; 0: FlexDA alone, without it", at_least=0
    )
    distill_start: float = setting(
        0.1907, "steps before that loss begins, or below 1 as a share of training", at_least=0, other=6
    )
    distill_temperature: float = setting(1.0, "of that loss", symbol="T", above=0)
    distill_inferred: bool = setting(
        False, "the temperature is the distribution's unevenness when that loss begins, whatever distill_temperature is"
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
Learning rate, schedule, weight decay and moving average are those of all methods; the authors decay BatchNorm too.
7 unlabeled images for each labeled one instead of 2. The strong view is the trial's, CTAugment by default, where
the authors have RandAugment. The start of distillation is the authors' share of the training, 50 000 of 262 144
steps. In their program the temperature of the paper (distill_inferred) acts only where distill_T is given, which no
released configuration does: the default here is theirs, temperature 1. distill_complement: false is lambda_distill:
0. A resumed trial goes on with its distribution and temperature, which the authors' program loses. Where labeled
images are among the unlabeled ones is the split's affair.""",
    ),
)
