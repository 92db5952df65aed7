"""What the program knows of Mean Teacher without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.pi_model.card import Settings as PiModelSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(PiModelSettings):
    """The Π-Model's settings with another default weight."""

    consistency_weight: float = setting(50.0, "weight of the consistency loss at the end of its ramp", at_least=0)


CARDS = (
    Card(
        name="mean_teacher",
        title="Mean Teacher",
        kind=BASE,
        paper="Tarvainen, Valpola: Mean Teachers Are Better Role Models: Weight-Averaged Consistency Targets Improve "
        "Semi-Supervised Deep Learning Results",
        venue="NIPS 2017, arXiv 1703.01780",
        method="cissl.algorithms.mean_teacher.method:MeanTeacher",
        settings=Settings,
        slots=("labeled", "stages"),
        short={"warmup_pos": 0.2},
        differs="""\
This follows the program of FixMatch's authors: there is no second head, and the decay of the average (ema_decay) does
not change during the training. The teacher has the weights from before the step's update; in that program the order is
not determined. There is one unlabeled image for each labeled one, so a step has a seventh of FixMatch's images.""",
    ),
)
