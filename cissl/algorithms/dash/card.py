"""What the program knows of Dash without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """Dash's settings; its threshold is one of losses."""

    gamma: float = setting(1.27, "the threshold is divided by this every ten epochs", symbol="γ", at_least=1, other=1.1)
    constant: float = setting(1.0001, "factor of the threshold at its start", symbol="C", above=0)
    rho_min: float = setting(
        0.05, "lowest threshold; when it is reached, pseudo-labels are classes", at_least=0, other=2.0
    )
    rho_init: float | None = setting(
        None,
        "loss that the threshold starts from; by default the labeled images' after the warm-up",
        symbol="ρ̂",
        above=0,
        other=3.0,
    )
    temperature: float = setting(0.5, "of soft pseudo-labels, the weak view's probabilities", symbol="T", above=0)
    epoch: float = setting(1 / 1024, "length of an epoch, in steps, or below 1 as a share of training", above=0)
    num_wu_iter: float = setting(1 / 512, "supervised warm-up, in steps, or below 1 as a share of training", above=0)


CARDS = (
    Card(
        name="dash",
        title="Dash",
        kind=BASE,
        paper="Xu, Shang, Ye, Qian, Li, Sun, Li, Jin: Dash: Semi-Supervised Learning with Dynamic Thresholding",
        venue="ICML 2021, arXiv 2109.00650",
        method="cissl.algorithms.dash.method:Dash",
        settings=Settings,
        slots=("labeled", "guess", "unlabeled", "predict"),
        short={"epoch": 1, "num_wu_iter": 1, "rho_init": 2.3, "rho_min": 1.5},
        differs="""\
The USB library is followed; a program of the authors is not known. There the threshold starts from the averaged
network's loss on the test set. Here it starts from the trained network's loss on the labeled images as they are, after
the warm-up: where these are few and learned by heart, that loss lies below rho_min, and Dash is FixMatch with a
threshold of exp(-rho_min) from the start. rho_init gives it by hand. The warm-up's steps belong to the training's
length; after it the schedule and the weights' average start over. Add-ons act after the warm-up. The strong view is the
trial's, CTAugment by default, where USB has RandAugment. A trial that is resumed goes on with its threshold.""",
    ),
)
