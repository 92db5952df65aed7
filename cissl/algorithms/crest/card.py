"""What the program knows of CReST and CReST+ without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of both."""

    num_generation: int = setting(
        6, "CReST: trainings one after the other, which share the trial's steps evenly", symbol="G", at_least=1
    )
    alpha: float = setting(
        3.0, "CReST: the larger, the more images of frequent classes are added", symbol="α", above=0, other=0.3
    )
    gamma: float | None = setting(
        None,
        "CReST: imbalance ratio of an ideal long tail that stands for the class distribution; by default labeled "
        "images are counted",
        symbol="γ",
        at_least=1,
        other=1000.0,
    )
    update_mode: str = setting(
        "distribution",
        "CReST: add images by class frequency, or all that are predicted",
        choices=("distribution", "all"),
    )
    reweight_labeled: bool = setting(False, "CReST: weigh labeled images by the inverse frequency of their class")
    temperature: float = setting(
        0.0, "CReST: soft targets of this temperature; 0 for hard ones", symbol="T", at_least=0
    )
    unsup_loss_divisor: str = setting(
        "full", "CReST: the unlabeled loss is divided by all rows or by those kept", choices=("full", "quality")
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlusSettings(Settings):
    """Settings of CReST+, which also aligns pseudo-labels."""

    how_dalign: str = setting(
        "adaptive",
        "CReST+: align to the class distribution, more strongly in each generation or equally (constant), or to the "
        "running mean of the labels",
        choices=("adaptive", "constant", "labels"),
    )
    dalign_t: float = setting(
        0.5, "CReST+: exponent of the class distribution, in the last generation if adaptive", symbol="t", at_least=0
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
All generations together have the steps of one trial, where the authors give each 64 × 1024 steps: methods are compared
at one budget. Each generation has a fresh network, moving average, optimizer, learning-rate schedule, CTAugment rates
and running means. The schedule, weight decay on kernels alone and a mean over the last evaluations are those of all
methods; the last generation is evaluated. The class distribution is counted from the labeled images unless gamma is
given, and classes need not be in order of size: the exponent takes a class's rank, of equals the lower number first.
Whether labeled images are among the unlabeled ones is the split's affair; such images are never added. A killed trial
goes on with its running means, which the authors' program starts anew. BatchNorm sees all views in one pass, as in the
authors' program."""

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
