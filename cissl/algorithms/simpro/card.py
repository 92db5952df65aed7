"""What the program knows of SimPro without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and SimPro's own."""

    tau: float = setting(2.0, "strength of the logit adjustments", symbol="τ", at_least=0)
    ema_u: float = setting(0.9, "momentum of the two class distributions, by epoch", at_least=0, at_most=1)
    epoch: float = setting(
        0.01163, "steps between two estimates of the distributions, or below 1 as a share of training", above=0, other=5
    )
    scale_ratio: float | None = setting(
        None,
        "the labeled loss is divided by this; by default whole batches of unlabeled images for each of labeled ones",
        above=0,
        other=3.0,
    )


CARDS = (
    Card(
        name="simpro",
        title="SimPro",
        kind=BASE,
        paper="Du, Han, Huang: SimPro: A Simple Probabilistic Framework Towards Realistic Long-Tailed Semi-Supervised "
        "Learning",
        venue="ICML 2024, arXiv 2402.13505",
        method="cissl.algorithms.simpro.method:SimPro",
        settings=Settings,
        slots=("labeled", "unlabeled", "predict", "stages"),
        short={"epoch": 2, "confidence": 0.12},
        differs="""\
Learning rate, schedule, weight decay and moving average are those of all methods, and 7 unlabeled images for each
labeled one, where the authors' scripts have 8. An epoch is the authors' share of the training, 500 of 43 000 steps. The
strong views are the trial's, CTAugment by default, where the authors have RandAugment. The authors' images are either
labeled or unlabeled; here the split says. The labeled loss is divided by the authors' quotient of whole batches in the
data set, which leaves little of it where labels are few: with fewer labels than a batch takes, one batch counts, where
the authors' program has none; scale_ratio: 1 takes the loss as it is. For CIFAR-100 the authors have tau 1 and
confidence 0.2. A resumed trial goes on with its distributions, which the authors' program starts anew.""",
    ),
)
