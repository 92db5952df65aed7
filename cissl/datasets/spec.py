"""Names of data sets and splits, such as ``cifar10_LT_20.1@20-1``.

    <name>[_LT_<γ>].<seed>@<size>-<valid>

==========  =========================================================================================
``name``    a data set of the catalog, or one that was imported; in lower case
``_LT_γ``   long-tailed labels: class k of C gets the share γ^(-k/(C-1)); without it, balanced labels
``seed``    shuffles the images before the labeled ones are drawn; 0 keeps the order of the data set
``size``    number of labels; in a long-tailed split, labels of the largest class
``valid``   number of validation images, the first of the unlabeled order
==========  =========================================================================================
"""

import re
from dataclasses import dataclass

from cissl.errors import UserError

NAME = r"[a-z][a-z0-9_-]*"  # lower case, so that no name ends in what reads as a suffix
NUMBER = r"\d+(?:\.\d+)?"
SPEC = re.compile(rf"(?P<name>{NAME})(?:_LT_(?P<ratio>{NUMBER}))?"
                  r"\.(?P<seed>\d+)@(?P<size>\d+)-(?P<valid>\d+)")
LARGEST_SEED = 2**32 - 1  # of NumPy's legacy generator


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set and its split: all that decides which images are labeled, unlabeled and validation."""

    name: str
    imbalance_ratio: float | None = None
    """γ: labels of the largest class ÷ labels of the smallest; None for balanced labels."""
    seed: int
    size: int
    """Number of labels; with an imbalance ratio, labels of the largest class."""
    valid: int
    """Number of validation images."""

    def __post_init__(self):
        _require(self.imbalance_ratio is None or self.imbalance_ratio >= 1,
                 f"imbalance ratio {self.imbalance_ratio} is below 1: it is the largest class ÷ the smallest")
        _require(0 <= self.seed <= LARGEST_SEED, f"seed {self.seed} is not between 0 and {LARGEST_SEED}")
        _require(self.size >= 1, f"labeled size {self.size} is below 1")
        _require(self.valid >= 1, f"validation size {self.valid} is below 1 (1 is the usual small choice)")

    def __str__(self) -> str:
        tail = "" if self.imbalance_ratio is None else f"_LT_{_plain(self.imbalance_ratio)}"
        return f"{self.name}{tail}.{self.seed}@{self.size}-{self.valid}"


def parse_spec(text: str) -> DatasetSpec:
    """The spec that ``text`` names; ``str`` is the inverse.

    Raises:
        UserError: the text has another form, or a number is out of range.
    """
    match = SPEC.fullmatch(str(text).strip())
    if match is None:
        raise UserError(
            f"'{text}' is not the name of a split; write <name>[_LT_<imbalance ratio>].<seed>@<size>-<valid> "
            f"with a lower-case name, for example cifar10.1@40-1 or cifar10_LT_20.1@20-1", key="dataset")
    ratio = match["ratio"]
    try:
        return DatasetSpec(name=match["name"], imbalance_ratio=None if ratio is None else float(ratio),
                           seed=int(match["seed"]), size=int(match["size"]), valid=int(match["valid"]))
    except UserError as error:
        raise UserError(f"'{text}': {error}", key="dataset") from None


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message, key="dataset")


def _plain(number: float) -> str:
    """Without an exponent or a needless ``.0``: 20.0 is written 20."""
    return str(int(number)) if number == int(number) else repr(number)
