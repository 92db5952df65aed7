"""What the program knows of MixMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """MixMatch's settings, under the names of its authors' program."""

    w_match: float = setting(100.0, "weight of the unlabeled loss at the end of its ramp", symbol="λ_U", at_least=0)
    warmup_kimg: float = setting(
        1024.0, "length of the unlabeled loss's ramp, in 1024 labeled images", at_least=0, other=0.0
    )
    beta: float = setting(0.5, "parameter of the Beta distribution of mixing shares", symbol="α", above=0)
    nu: int = setting(2, "weak views of each unlabeled image", symbol="K", at_least=1)
    mixmode: str = setting(
        "xxy.yxy",
        "x stands for labeled, y for unlabeled images; xx.yxy mixes labeled images with labeled ones only",
        choices=("xxy.yxy", "xx.yxy"),
    )
    temperature: float = setting(0.5, "temperature that sharpens the guesses", symbol="T", above=0)


CARDS = (
    Card(
        name="mixmatch",
        title="MixMatch",
        kind=BASE,
        paper="Berthelot, Carlini, Goodfellow, Papernot, Oliver, Raffel: MixMatch: A Holistic Approach to "
        "Semi-Supervised Learning",
        venue="NeurIPS 2019, arXiv 1905.02249",
        method="cissl.algorithms.mixmatch.method:MixMatch",
        settings=Settings,
        slots=("stages",),
        short={"warmup_kimg": 0.02},
        differs="""\
Optimizer, schedule, length and moving average are those of all methods, as in FixMatch's program. The first MixMatch
program used Adam with a weight decay of its own, w_match 75 and beta 0.75 on CIFAR-10. There is one unlabeled image
for each labeled one, as in the paper, so a step has a seventh of FixMatch's images. The ramp counts labeled images and
is as long as its authors' (warmup_kimg). In a short trial the unlabeled loss may never reach its full weight: then
shorten the ramp in proportion. The variant that applies CTAugment to labeled images and to the second view is not
offered.""",
    ),
)
