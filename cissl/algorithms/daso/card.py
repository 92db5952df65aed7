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
        "DASO: temperature of the prototypes' shares; with a smaller one they count less for rare classes; the authors "
        "use 0.3 if labeled and unlabeled images have different class shares, and for CIFAR-100 and STL-10",
        symbol="T_dist",
        above=0,
    )
    pl_dist_update_period: float = setting(
        0.0004, "DASO: steps between two counts of the pseudo-labels, or below 1 as a share of training", above=0
    )
    queue_size: int = setting(256, "DASO: number of labeled features in the memory of each class", at_least=1)
    interp_alpha: float | None = setting(
        None,
        "DASO: share of the prototypes, the same for all classes; by default it follows the count of each class",
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
Nesterov SGD, the schedule and the moving average are those of all methods. The authors' learning rate is
constant, and their moving average includes BatchNorm's statistics. There are 7 unlabeled images for each labeled
one; the authors use 2. The split decides whether labeled images are also unlabeled images; by default they are.
The length of the pretraining and the period of the counts are the authors' shares of the training, 5000 and 100
of 250 000 steps. The averaged network computes its features with the statistics of the labeled batch, as in the
authors' program, and does not change its running averages. The pretraining lasts until pseudo-labels have been
counted once; the authors' program divides by zero there. Several workers share one memory. The authors' variant
with ABC's head, which also blends the soft labels of that head, is not offered; in daso+abc the head keeps labels
of its own. With another base than FixMatch, DASO blends the probabilities that the base makes its pseudo-labels
from, and counts the resulting labels.""",
    ),
)
