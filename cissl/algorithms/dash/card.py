"""What the program knows of Dash without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.algorithms.fixmatch.card import SharedSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SharedSettings):
    """Dash's settings. Its threshold is compared with losses."""

    gamma: float = setting(1.27, "divisor of the threshold every ten epochs", symbol="γ", at_least=1, other=1.1)
    constant: float = setting(1.0001, "factor of the threshold at its start", symbol="C", above=0)
    rho_min: float = setting(0.05, "lowest threshold; from there on pseudo-labels are classes", at_least=0, other=2.0)
    rho_init: float | None = setting(
        None,
        "loss that the threshold starts from; by default that of the labeled images after the warm-up",
        symbol="ρ̂",
        above=0,
        other=3.0,
    )
    temperature: float = setting(0.5, "temperature of soft pseudo-labels", symbol="T", above=0)
    epoch: float = setting(1 / 1024, "length of an epoch, in steps, or below 1 as a share of training", above=0)
    num_wu_iter: float = setting(
        1 / 512, "length of the supervised warm-up, in steps, or below 1 as a share of training", above=0
    )


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
This follows the USB library, because no program of the authors is known. In USB the threshold starts from the averaged
network's loss on the test set. Here it starts from the trained network's loss on the labeled images without
augmentation, after the warm-up. If there are few of them and the network has memorised them, this loss is below
rho_min. Then Dash is FixMatch with the threshold exp(-rho_min) from the start. rho_init sets the loss by hand. The
steps of the warm-up are part of the training; after it the schedule and the average of the weights start over. Add-ons
act after the warm-up. The strong view is the trial's, CTAugment by default; USB uses RandAugment. A resumed trial
continues with its threshold.""",
    ),
)
