"""What the program knows of CoSSL without importing torch."""

import dataclasses

from cissl.algorithms.cards import ADD_ON, Card, setting
from cissl.settings import steps_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """CoSSL's settings."""

    start: float = setting(
        0.8, "CoSSL: steps before the second head joins in, or below 1 as a share of training", above=0
    )
    max_lam: float = setting(0.8, "CoSSL: smallest share of an image of a rare class in a mix", at_least=0, at_most=1)
    lr: float = setting(0.002, "CoSSL: learning rate of the second head", at_least=0)
    warm_tfe: float = setting(
        0.02, "CoSSL: steps of the second head before it joins in, or below 1 as a share of training", at_least=0
    )
    lr_tfe: float = setting(0.002, "CoSSL: learning rate of these steps", at_least=0)
    wd_tfe: float = setting(5e-4, "CoSSL: weight decay of the second head; its bias has none", at_least=0)
    ema_decay: float = setting(
        0.999, "CoSSL: decay of the second head's moving average, which predicts", at_least=0, at_most=1
    )


def second_phase(settings: Settings, steps: int) -> int:
    """The step at which the second phase begins."""
    return steps_of(settings.start, steps)


CARDS = (
    Card(
        name="cossl",
        title="CoSSL",
        kind=ADD_ON,
        paper="Fan, Dai, Kukleva, Schiele: CoSSL: Co-Learning of Representation and Classifier for Imbalanced "
        "Semi-Supervised Learning",
        venue="CVPR 2022, arXiv 2112.04564",
        method="cissl.algorithms.cossl.method:CoSSL",
        settings=Settings,
        fills=("guess", "predict", "stages"),
        last_stage=second_phase,
        short={"cossl.start": 0.5, "cossl.warm_tfe": 20, "cossl.lr_tfe": 0.5},
        differs="""\
Both phases share the steps of one trial: 4 in 5 steps for the first and the rest for the second, as 400 and 100 of the
authors' 500 epochs. The default of their program for the second phase is 400 epochs. max_lam is the default of their
program; their commands set it for each benchmark. The second head's first training is their share of the run, 5000 of
250 000 steps, with batches of the trial's size. The second head is trained by Adam, as in their program. The network
keeps the Nesterov SGD, schedule and weight decay of all methods; the authors use Adam and change the decay between the
phases. Each unlabeled image has one strong view; the authors use two. There are 7 unlabeled images for each labeled
one; the authors use 1. The two further streams have as many images as the labeled one. One forward pass covers all
views, the weak one too, so that they share one set of BatchNorm statistics. The split decides whether labeled images
are also unlabeled images; by default they are. If too few images are left to mix with, fewer features are made. A
class without a labeled image has none. The class prior is the weak view's, from the network's own head. With another
base than FixMatch, the second head replaces the probabilities that the base makes its pseudo-labels from.""",
    ),
)
