"""What the program knows of CReST and CReST+ without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of CReST and of CReST+."""

    num_generation: int = setting(
        6, "CReST: number of generations, which share the trial's steps evenly", symbol="G", at_least=1
    )
    alpha: float = setting(
        3.0, "CReST: a larger value adds more images of frequent classes", symbol="α", above=0, other=0.3
    )
    gamma: float | None = setting(
        None,
        "CReST: imbalance ratio of an ideal long tail that replaces the class distribution; by default the labeled "
        "images give it",
        symbol="γ",
        at_least=1,
        other=1000.0,
    )
    update_mode: str = setting(
        "distribution",
        "CReST: add images by class frequency (distribution), or all predicted images (all)",
        choices=("distribution", "all"),
    )
    reweight_labeled: bool = setting(False, "CReST: weight labeled images by the inverse frequency of their class")
    temperature: float = setting(0.0, "CReST: temperature of soft targets; 0 for hard targets", symbol="T", at_least=0)
    unsup_loss_divisor: str = setting(
        "full",
        "CReST: divisor of the unlabeled loss: the number of all rows (full) or of the kept rows (quality)",
        choices=("full", "quality"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlusSettings(Settings):
    """Further settings of CReST+, which also aligns pseudo-labels."""

    how_dalign: str = setting(
        "adaptive",
        "CReST+: align with the class distribution, more strongly in each generation (adaptive) or equally (constant), "
        "or with the running mean of the labels",
        choices=("adaptive", "constant", "labels"),
    )
    dalign_t: float = setting(
        0.5, "CReST+: exponent of the class distribution; if adaptive, in the last generation", symbol="t", at_least=0
    )


_PAPER = (
    "Wei, Sohn, Mellina, Yuille, Yang: CReST: A Class-Rebalancing Self-Training Framework for Imbalanced "
    "Semi-Supervised Learning"
)
_VENUE = "CVPR 2021, arXiv 2102.09559"


def last_generation(settings: Settings, steps: int) -> int:
    """The step at which the last generation begins."""
    return round(steps * (1 - 1 / settings.num_generation))


_DIFFERS = """\
All generations together have the steps of one trial; the authors give each generation 64 × 1024 steps. So all methods
are compared with the same budget. Each generation has a fresh network, moving average, optimizer, learning-rate
schedule, CTAugment rates and running means. The schedule, the weight decay on kernels alone and the mean over the last
evaluations are those of all methods. The last generation is evaluated. The labeled images give the class distribution,
unless gamma is set. Classes need not be in order of size: the exponent depends on a class's rank, and of equal classes
the lower number comes first. The split decides whether labeled images are also unlabeled images; such images are never
added. A trial that was killed continues with its running means; the authors' program resets them. BatchNorm sees all
views in one pass, as in the authors' program."""

CARDS = (
    Card(
        name="crest",
        title="CReST",
        kind=ADD_ON,
        paper=_PAPER,
        venue=_VENUE,
        method="cissl.algorithms.crest.method:CReST",
        settings=Settings,
        fills=("stages",),
        short={"crest.num_generation": 2},
        differs=_DIFFERS,
        last_stage=last_generation,
    ),
    Card(
        name="crest+",
        title="CReST+",
        kind=ADD_ON,
        paper=_PAPER,
        venue=_VENUE,
        method="cissl.algorithms.crest.method:CReSTPlus",
        settings=PlusSettings,
        fills=("guess", "stages"),
        short={"crest.num_generation": 2},
        differs=_DIFFERS,
        last_stage=last_generation,
    ),
)
