"""What the program knows of SimPro without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and SimPro's own."""

    tau: float = setting(2.0, "strength of the logit adjustments", symbol="τ", at_least=0)
    ema_u: float = setting(0.9, "momentum of the two class distributions, per epoch", at_least=0, at_most=1)
    epoch: float = setting(
        0.01163, "steps between two estimates of the distributions, or below 1 as a share of training", above=0, other=5
    )
    scale_ratio: float | None = setting(
        None,
        "divisor of the labeled loss; by default the number of unlabeled batches for each labeled batch",
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
Learning rate, schedule, weight decay and moving average are those of all methods. There are 7 unlabeled images for
each labeled one; the authors' scripts have 8. An epoch is the authors' share of the training, 500 of 43 000 steps. The
strong views are the trial's, CTAugment by default; the authors use RandAugment. The authors' images are either labeled
or unlabeled; here the split decides. The labeled loss is divided by the authors' ratio of whole batches in the data
set, which makes it small if there are few labels. If the labels do not fill a batch, this counts as one batch; the
authors' program has none. With scale_ratio: 1 the loss is not divided. For CIFAR-100 the authors use tau 1 and
confidence 0.2. A resumed trial continues with its distributions; the authors' program resets them.""",
    ),
)
