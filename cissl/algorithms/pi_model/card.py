"""What the program knows of the Π-Model without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The Π-Model's settings, under the names of FixMatch's authors' program."""

    consistency_weight: float = setting(10.0, "weight of the consistency loss at the end of its ramp", at_least=0)
    warmup_pos: float = setting(0.4, "the weight rises over this share of the training", at_least=0, at_most=1)


CARDS = (
    Card(
        name="pi_model",
        title="Π-Model",
        kind=BASE,
        paper="Laine, Aila: Temporal Ensembling for Semi-Supervised Learning",
        venue="ICLR 2017, arXiv 1610.02242",
        method="cissl.algorithms.pi_model.method:PiModel",
        settings=Settings,
        slots=("labeled", "stages"),
        short={"warmup_pos": 0.2},
        differs="""\
This follows the program of FixMatch's authors and not that of the paper's authors. There is one unlabeled image for
each labeled one, as in that program, so a step has a seventh of FixMatch's images. That program has a setting for
label smoothing and never uses it; it is left out.""",
    ),
)
