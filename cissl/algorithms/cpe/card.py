"""What the program knows of CPE without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """CPE's settings.

    Raises:
        UserError: ``cut1`` is above ``cut2``.
    """

    uratio: int = setting(7, "unlabeled images per labeled image", symbol="μ", at_least=1)
    wu: float = setting(1.0, "weight of the experts' unlabeled losses", symbol="λ", at_least=0)
    confidence: float = setting(0.95, "threshold of the pseudo-labels", symbol="τ", at_least=0, at_most=1)
    la_tau1: float = setting(0.0, "strength of the first expert's labeled adjustment", at_least=0)
    la_tau2: float = setting(2.0, "strength of the labeled adjustment of the second expert, which predicts", at_least=0)
    la_tau3: float = setting(4.0, "strength of the third expert's labeled adjustment", at_least=0)
    cut1: int = setting(2, "number of frequent classes", at_least=0, other=0)
    cut2: int = setting(4, "number of frequent and medium classes", at_least=0, other=8)
    by_frequency: bool = setting(
        True, "order classes by their labeled images, the most frequent first; false: by their numbers", other=False
    )

    def __post_init__(self) -> None:
        if self.cut1 > self.cut2:
            raise UserError(f"cut1 must be at most cut2, {self.cut2}, not {self.cut1}", key="cut1")


CARDS = (
    Card(
        name="cpe",
        title="CPE",
        kind=BASE,
        paper="Ma, Elezi, Deng, Dong, Xu: Three Heads Are Better Than One: Complementary Experts for Long-Tailed "
        "Semi-supervised Learning",
        venue="AAAI 2024, arXiv 2312.15702",
        method="cissl.algorithms.cpe.method:CPE",
        settings=Settings,
        short={"confidence": 0.2, "dataset": "digits_RAND.2@100-20"},  # a split whose classes are not in order of size
        differs="""\
Learning rate, schedule, weight decay and moving average are those of all methods; the authors also decay BatchNorm's
weights. There are 7 unlabeled images for each labeled one; the authors use 2. The strong view is the trial's,
CTAugment by default; the authors use RandAugment. The reported figure is the mean of the last evaluations; the authors
report the best test accuracy. The authors' cuts are class numbers, which is right if classes are in order of size.
Here the cuts are ranks, and of equal classes the lower number comes first; by_frequency: false gives the authors'
rule. For CIFAR-100 the authors use cut1 35 and cut2 70. The three experts start like the other heads here, with Xavier
normal weights and bias 0. CPE does not use the network's own last dense layer, which keeps its initial weights; an
add-on that uses its predictions, such as CReST, is refused. Your own network has no last feature map for the three
BatchNorms and is refused.""",
    ),
)
