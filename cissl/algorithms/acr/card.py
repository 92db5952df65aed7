"""What the program knows of ACR without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoHeadSettings:
    """Settings of ACR and of BOAT."""

    uratio: int = setting(7, "unlabeled images per labeled image", symbol="μ", at_least=1)
    wu: float = setting(1.0, "weight of both heads' unlabeled losses", symbol="λ", at_least=0)
    confidence: float = setting(0.95, "threshold of the pseudo-labels", symbol="τ", at_least=0, at_most=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(TwoHeadSettings):
    """ACR's settings."""

    tau1: float = setting(
        2.0, "largest strength with which the plain head's pseudo-labels are adjusted", symbol="τ₁", at_least=0
    )
    tau12: float = setting(2.0, "strength with which the balanced head's pseudo-labels are adjusted", at_least=0)
    tau2: float = setting(2.0, "strength of the balanced head's labeled adjustment", symbol="τ₂", at_least=0)
    temperature: float = setting(1.0, "of the confidences", symbol="T", above=0)
    ema_u: float = setting(0.99, "momentum of the unlabeled images' class distribution", at_least=0, at_most=1)
    epoch: float = setting(
        0.002, "steps between two estimates of tau, or below 1 as a share of training", above=0, other=3
    )
    est_epoch: int = setting(5, "last epoch in which nothing is estimated; they count from 0", at_least=0)


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
Learning rate, schedule, weight decay and moving average are those of all methods; 7 unlabeled images for each
labeled one instead of 1. An epoch is the authors' share of the training, 500 of 250 000 steps. The strong views are
the trial's, CTAugment by default, where the authors have RandAugment. The labeled images of each class are counted,
where the authors run once through a loader that leaves out the last incomplete batch. Of two rows of one class the
later counts for the estimate, on GPUs too. A resumed trial goes on with tau and the divergences, which the authors'
program starts anew. The balanced head starts like the other heads here: Xavier normal, bias 0. The weight wu is 1
in their program.""",
    ),
)
