"""What the program knows of ACR without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoHeadSettings:
    """Settings that ACR and BOAT share."""

    uratio: int = setting(7, "unlabeled images per labeled image", symbol="μ", at_least=1)
    wu: float = setting(1.0, "weight of both heads' unlabeled losses", symbol="λ", at_least=0)
    confidence: float = setting(0.95, "threshold of the pseudo-labels", symbol="τ", at_least=0, at_most=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TwoHeadSettings):
    """ACR's settings."""

    tau1: float = setting(
        2.0, "largest strength of the adjustment of the plain head's pseudo-labels", symbol="τ₁", at_least=0
    )
    tau12: float = setting(2.0, "strength of the adjustment of the balanced head's pseudo-labels", at_least=0)
    tau2: float = setting(2.0, "strength of the balanced head's labeled adjustment", symbol="τ₂", at_least=0)
    temperature: float = setting(1.0, "temperature of the confidences", symbol="T", above=0)
    ema_u: float = setting(0.99, "momentum of the unlabeled images' class distribution", at_least=0, at_most=1)
    epoch: float = setting(
        0.002, "steps between two estimates of tau, or below 1 as a share of training", above=0, other=3
    )
    est_epoch: int = setting(5, "last epoch without an estimate, counted from 0", at_least=0)


CARDS = (
    Card(
        name="acr",
        title="ACR",
        kind=BASE,
        paper="Wei, Gan: Towards Realistic Long-Tailed Semi-Supervised Learning: Consistency Is All You Need",
        venue="CVPR 2023",
        method="cissl.algorithms.acr.method:ACR",
        settings=Settings,
        slots=("stages",),
        short={"confidence": 0.25, "epoch": 2, "est_epoch": 0, "ema_u": 0.5},
        differs="""\
Learning rate, schedule, weight decay and moving average are those of all methods. There are 7 unlabeled images for
each labeled one; the authors use 1. An epoch is the authors' share of the training, 500 of 250 000 steps. The strong
views are the trial's, CTAugment by default; the authors use RandAugment. All labeled images of each class are counted;
the authors run once through a loader that drops the last incomplete batch. If two rows of a batch have one class, the
later row counts for the estimate, also on GPUs. A resumed trial continues with its tau and divergences; the authors'
program resets them. The balanced head starts like the other heads here, with Xavier normal weights and bias 0. In the
authors' program the weight wu is fixed at 1.""",
    ),
)
