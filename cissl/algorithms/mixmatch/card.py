"""What the program knows of MixMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """MixMatch's settings, under the names of its authors' program."""

    w_match: float = setting(100.0, "weight of the unlabeled loss at the end of its ramp", symbol="λ_U", at_least=0)
    warmup_kimg: float = setting(
        1024.0, "the unlabeled loss's weight rises over so many 1024 labeled images", at_least=0, other=0.0
    )
    beta: float = setting(0.5, "parameter of the Beta distribution of mixing shares", symbol="α", above=0)
    nu: int = setting(2, "weak views of each unlabeled image", symbol="K", at_least=1)
    mixmode: str = setting(
        "xxy.yxy", "which images labeled.unlabeled ones are mixed with", choices=("xxy.yxy", "xx.yxy")
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
Optimizer, schedule, length and moving average are those of all methods, which are those of FixMatch's program; the
first MixMatch program used Adam with a hand-made decay, w_match 75 and beta 0.75 on CIFAR-10. One unlabeled image for
each labeled one, as the method has it, and so a seventh of FixMatch's images a step. The ramp counts labeled images and
is as long as its authors' (warmup_kimg): in a short trial the unlabeled loss may never reach its weight, so shorten it
in proportion. The variant whose labeled images and second view get CTAugment is not offered.""",
    ),
)
