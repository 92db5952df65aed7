"""What the program knows of SimMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, SLOTS, Card, setting
from cissl.algorithms.fixmatch.card import Settings as FixMatchSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FixMatchSettings):
    """FixMatch's settings and SimMatch's own."""

    variant: str = setting(
        "usb",
        "network that predicts weak views: the trained one (usb, for small images), or the averaged one with the "
        "batch's statistics (authors, their ImageNet program)",
        choices=("usb", "authors"),
    )
    lambda_in: float = setting(1.0, "weight of the instance loss", symbol="λ_in", at_least=0)
    tt: float = setting(0.1, "temperature of a weak view's similarities", above=0)
    st: float = setting(0.1, "temperature of a strong view's similarities", above=0)
    c_smooth: float = setting(
        0.9, "share of the weak view's own prediction in a pseudo-label", symbol="α", at_least=0, at_most=1
    )
    da_len: int = setting(
        32, "number of steps over which predictions are aligned to be uniform on average; 0: no alignment", at_least=0
    )
    proj_size: int = setting(128, "dimensions of the embeddings that are compared", at_least=1)
    start: float = setting(
        1024,
        "steps before similarities act, or below 1 as a share of training",
        at_least=0,
        other=6,
    )
    bank_momentum: float | None = setting(
        None,
        "momentum of a labeled image's vector in the bank; by default 0.7 (usb) or 0 (authors)",
        at_least=0,
        at_most=1,
        other=0.3,
    )
    bank_norm: str | None = setting(
        None,
        "scale each coordinate over the batch (batch), or each vector to length 1 (row); by default batch for usb and "
        "row for authors",
        choices=("batch", "row"),
        other="row",
    )

    @property
    def momentum(self) -> float:
        """The value of `bank_momentum`, or the default of the variant."""
        return {"usb": 0.7, "authors": 0.0}[self.variant] if self.bank_momentum is None else self.bank_momentum

    @property
    def norm(self) -> str:
        """The value of `bank_norm`, or the default of the variant."""
        return self.bank_norm or {"usb": "batch", "authors": "row"}[self.variant]


CARDS = (
    Card(
        name="simmatch",
        title="SimMatch",
        kind=BASE,
        paper="Zheng, You, Huang, Wang, Qian, Xu: SimMatch: Semi-Supervised Learning with Similarity Matching",
        venue="CVPR 2022, arXiv 2203.06915",
        method="cissl.algorithms.simmatch.method:SimMatch",
        settings=Settings,
        slots=SLOTS,
        short={"start": 3, "da_len": 4, "confidence": 0.15},
        differs="""\
The variant usb follows USB's program, which follows the authors' unpublished one for CIFAR. The three projection heads
in USB's present configurations are another method. In USB a vector of the bank is divided by the length of its
coordinates over the batch and not by its own length. This is the default here; bank_norm: row divides by its own
length. The first 1024 steps, USB's epoch, have no similarities (start): shorten them in proportion to the training.
Optimizer, schedule, length and moving average are those of all methods, also in the variant authors. The authors'
program uses confidence 0.7, wu 10, lambda_in 5 and da_len 256 on ImageNet; its option with averaged statistics is left
out. Several workers share one bank and one queue. Of two rows of one image the later one counts. The strong view is
the trial's. Nothing is divided by zero: if no prediction gives a class any probability, it keeps probability 0, and a
row whose similarities meet no probability has no instance target. An add-on at the slot guess changes the prediction
before it is aligned.""",
    ),
)
