"""What the program knows of AdaMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """AdaMatch's settings, with its authors' values as defaults."""

    uratio: int = setting(3, "unlabeled images per labeled image", symbol="uratio", at_least=1)
    wu: float = setting(
        1.0, "weight of the unlabeled loss; in the authors' variant at the end of training", symbol="μ", at_least=0
    )
    confidence: float = setting(
        0.9,
        "threshold of the pseudo-labels, as a share of the mean confidence on labeled images",
        symbol="τ",
        at_least=0,
        at_most=1,
    )
    use_cr: bool = setting(True, "confidence is such a share; false: it is the threshold itself")
    variant: str = setting(
        "authors",
        "authors: the authors' program; usb: the USB library's, which has no strong labeled views, mixing or ramp",
        choices=("authors", "usb"),
    )
    ema_p: float = setting(
        0.999, "momentum of the mean labeled prediction; with usb also of the unlabeled one", at_least=0, at_most=1
    )
    hard_label: bool = setting(True, "pseudo-labels are classes; false: aligned probabilities")


CARDS = (
    Card(
        name="adamatch",
        title="AdaMatch",
        kind=BASE,
        paper="Berthelot, Roelofs, Sohn, Carlini, Kurakin: AdaMatch: A Unified Approach to Semi-Supervised Learning "
        "and Domain Adaptation",
        venue="ICLR 2022, arXiv 2106.04732",
        method="cissl.algorithms.adamatch.method:AdaMatch",
        settings=Settings,
        slots=("labeled", "unlabeled", "predict", "stages"),
        short={"confidence": 0.6, "ema_p": 0.9},
        differs="""\
Optimizer, weight decay, schedule and moving average are those of all methods: Nesterov momentum, a cosine to 7π/16,
and an average that starts from the network's weights and copies BatchNorm's averages. The authors' program has
momentum without Nesterov, a cosine to a quarter of the rate, a decay of 0.001, and an average that starts from zero
and also averages BatchNorm's averages. BatchNorm's running variance is the unbiased one. There are three unlabeled
images for each labeled one, as in the authors' program, so a step has less than half of FixMatch's images. variant:
usb is the simplification of the USB library; its other settings are confidence: 0.95 and uratio: 7. Predictions are
aligned with those on labeled images; if labels are missing not at random, this is the wrong target. Add-ons that align
predictions are refused, because AdaMatch aligns them itself. In the authors' variant an add-on gets the mixed logits
as the labeled ones.""",
    ),
)
