"""What the program knows of ReMixMatch without importing torch."""

import dataclasses

from cissl.algorithms.cards import BASE, Card, setting
from cissl.settings import class_shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """ReMixMatch's settings, under the names of its authors' program."""

    w_match: float = setting(1.5, "weight of the mixed unlabeled images at the end of its ramp", at_least=0)
    w_kl: float = setting(0.5, "weight of the first strong view's own loss at the end of its ramp", at_least=0)
    w_rot: float = setting(0.5, "weight of the rotation loss, which has no ramp; 0 for no rotations", at_least=0)
    warmup_kimg: float = setting(1024.0, "length of both ramps, in 1024 labeled images", at_least=0, other=0.0)
    beta: float = setting(0.75, "parameter of the Beta distribution of mixing shares", symbol="α", above=0)
    k: int = setting(1, "strong views of each unlabeled image", symbol="K", at_least=1)
    redux: str = setting(
        "1st",
        "guess that is the target of a view: the weak view's, the next view's, or the mean of all",
        choices=("1st", "swap", "mean"),
    )
    use_dm: bool = setting(True, "align guesses with the class distribution")
    use_xe: bool = setting(True, "cross-entropy for mixed unlabeled images; false: squared differences as in MixMatch")
    mixmode: str = setting(
        "xxy.yxy",
        "x stands for labeled, y for unlabeled images; xx.yxy mixes labeled images with labeled ones only",
        choices=("xxy.yxy", "xx.yxy"),
    )
    temperature: float = setting(0.5, "temperature that sharpens the guesses", symbol="T", above=0)
    dbuf: int = setting(128, "number of steps whose guesses give the model's class distribution", at_least=1)
    p_data_decay: float = setting(0.999, "decay of the labels' running mean, per step", at_least=0, at_most=1)
    p_unlabeled: str = setting(
        "labels",
        "class distribution that guesses are aligned with: the labels' running mean, or one number for each class, "
        "separated by commas",
        other="1,1,1,1,1,1,1,1,1,9",
    )

    def __post_init__(self) -> None:
        self.known_marginal  # noqa: B018 – raises if the text is not a distribution

    @property
    def known_marginal(self) -> list[float] | None:
        """The class distribution that the setting gives. None: the labels are counted.

        Raises:
            UserError: the setting is neither ``labels`` nor a list of numbers.
        """
        return class_shares(self.p_unlabeled, "p_unlabeled", word="labels", zero=True)


CARDS = (
    Card(
        name="remixmatch",
        title="ReMixMatch",
        kind=BASE,
        paper="Berthelot, Carlini, Cubuk, Kurakin, Sohn, Zhang, Raffel: ReMixMatch: Semi-Supervised Learning with "
        "Distribution Matching and Augmentation Anchoring",
        venue="ICLR 2020, arXiv 1911.09785",
        method="cissl.algorithms.remixmatch.method:ReMixMatch",
        settings=Settings,
        slots=("stages",),
        short={"warmup_kimg": 0.02},
        differs="""\
The trial's augmentation makes the views. By default strong views are CTAugment with a cutout, and labeled and weak
views a mirror and a shift. The authors' program has no cutout and applies CTAugment to labeled images too. redux 1st
is its default with CTAugment; swap is the default of its variant without CTAugment, whose strong views are weak ones.
There is one strong view by default, as in that program; its published example has 4, the paper 8. Optimizer, learning
rate, decay, schedule, length and moving average are those of all methods. There is one unlabeled image for each
labeled one, so a step has a seventh of FixMatch's images, each in k + 1 views. The ramps count labeled images and are
as long as the authors' (warmup_kimg): shorten them in proportion to the training.""",
    ),
)
