"""What the program knows of CoMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and CoMatch's own."""

    lam_c: float = setting(1.0, "weight of the contrastive loss", symbol="λ_ctr", at_least=0)
    temperature: float = setting(0.2, "temperature of similarities", symbol="t", above=0)
    low_dim: int = setting(64, "dimensions of the embeddings that are compared", at_least=1)
    contrast_th: float = setting(
        0.8,
        "smallest agreement of their pseudo-labels with which two images are linked",
        symbol="T",
        at_least=0,
        at_most=1,
        other=0.05,
    )
    alpha: float = setting(
        0.9, "share of the weak view's own prediction in a pseudo-label", symbol="α", at_least=0, at_most=1
    )
    queue_batch: int = setting(
        5, "number of steps whose embeddings are in the memory; smoothing begins after as many steps", at_least=1
    )
    da_len: int = setting(32, "number of steps over which predictions are aligned to be uniform on average", at_least=1)


CARDS = (
    Card(
        name="comatch",
        title="CoMatch",
        kind=BASE,
        paper="Li, Xiong, Hoi: CoMatch: Semi-Supervised Learning with Contrastive Graph Regularization",
        venue="ICCV 2021, arXiv 2011.11183",
        method="cissl.algorithms.comatch.method:CoMatch",
        settings=Settings,
        slots=SLOTS,
        short={"queue_batch": 2, "confidence": 0.15},
        differs="""\
Both strong views are the trial's. The authors' first view is RandAugment, their second one an augmentation like
SimCLR's. Only the first has a classification loss, as in their program. Their program waits for a full memory at the
start of the first epoch; here the wait is counted in steps of the training. Weight decay acts on all kernels, the
projection's too, and on no bias. Optimizer, schedule, length and moving average are those of all methods. Several
workers share one memory. If no prediction gives a class any probability, it keeps probability 0; the authors' program
divides by zero there. An add-on at the slot guess changes the prediction before it is aligned.""",
    ),
)
