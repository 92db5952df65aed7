"""What the program knows of DASO without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """DASO's settings."""

    pretrain_steps: float = setting(
        0.02, "DASO: steps before the prototypes count, or below 1 as a share of training", at_least=0
    )
    proto_temp: float = setting(0.05, "DASO: temperature of similarities to the prototypes", symbol="T_proto", above=0)
    dist_temp: float = setting(
        1.5,
        "DASO: the smaller, the less the prototypes count for rare classes; the authors take 0.3 where labeled and "
        "unlabeled images differ in their class shares, and for CIFAR-100 and STL-10",
        symbol="T_dist",
        above=0,
    )
    pl_dist_update_period: float = setting(
        0.0004, "DASO: how often pseudo-labels are counted anew, in steps, or below 1 as a share of training", above=0
    )
    queue_size: int = setting(256, "DASO: labeled features that are remembered of each class", at_least=1)
    interp_alpha: float | None = setting(
        None,
        "DASO: one share of the prototypes for all classes; by default it follows the count of each class",
        at_least=0,
        at_most=1,
        other=0.5,
    )
    psa_loss_weight: float = setting(
        1.0, "DASO: weight of the loss that strong views resemble the same prototypes", symbol="λ_align", at_least=0
    )
    logit_adjust: float = setting(
        0.0, "DASO: strength of logit adjustment in the labeled loss; 0: none", symbol="τ", at_least=0
    )


CARDS = (
    Card(
        name="daso",
        title="DASO",
        kind=ADD_ON,
        paper="Oh, Kim, Kweon: DASO: Distribution-Aware Semantics-Oriented Pseudo-label for Imbalanced "
        "Semi-Supervised Learning",
        venue="CVPR 2022, arXiv 2106.05682",
        method="cissl.algorithms.daso.method:DASO",
        settings=Settings,
        fills=("guess", "unlabeled"),
        short={"daso.pretrain_steps": 4, "daso.pl_dist_update_period": 3, "daso.queue_size": 2},
        differs="""\
Nesterov SGD, the schedule and the moving average are those of all methods; the authors' learning rate stays as it is
and their average takes in BatchNorm's statistics. 7 unlabeled images for each labeled one instead of 2. Labeled images
are among the unlabeled ones, as the split says. Pretraining and the period of the counts are the authors' shares of the
training, 5000 and 100 of 250,000 steps. The averaged network takes its features by the statistics of the labeled batch,
as theirs, and leaves its averages as they are. Pretraining lasts until pseudo-labels have been counted once; the
authors' program divides by zero there. With several workers there is one memory. The authors' variant with ABC's head,
whose soft labels are blended too, is not here: in daso+abc that head keeps labels of its own. Beside other bases than
FixMatch, DASO blends what the base makes its pseudo-labels of, and counts the labels that come of it.""",
    ),
)
