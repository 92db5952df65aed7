"""Names of data sets and splits, such as ``cifar10_LT_20.1@20-1``.

    <name>[<labels>][<unlabeled>][<order>][<apart>].<seed>@<size>[+<largest>]-<valid>

===============  ====================================================================================
``name``         a data set of the catalog, or one that was imported; in lower case
``seed``         shuffles the images before the labeled ones are drawn; 0 keeps the data set's order
``size``         number of labels; with ``_LT_``, labels of the largest class (N1); or ``all``: as many as there are
``valid``        number of validation images, the first of the unlabeled order

labels
nothing          the data set's own class proportions: balanced for a balanced data set
``_LT_γ``        long-tailed: class k of C gets the share γ^(-k/(C-1))
``_N1_n``        PRG's protocol: ``size`` labels in all, n of them in the largest class
``_RAND``        random class shares, which the seed decides

unlabeled
nothing          every image
``_ULT_γ``       long-tailed with the ratio γ, the first class being the largest
``_UREV_γ``      the same reversed: the last class is the largest
``_UMID_γ``      the classes in the middle are the largest: the class sizes in the order 8 6 4 2 0 1 3 5 7 9
``_UHT_γ``       head-tail, the first and the last classes are the largest: in the order 1 3 5 7 9 8 6 4 2 0
``+largest``     images of the largest unlabeled class (M1); without it, as many as the data can give

order
nothing          the first class of a long tail is the data set's first
``_BYSIZE``      the first class of a long tail is the one with most images, and so on; equal ones keep their order

apart
nothing          labeled images are among the unlabeled ones, and may be among the validation images too
``_HELDOUT``     validation images are taken from those without a label, so that settings can be chosen by them
``_DISJOINT``    labeled images are left out of the unlabeled ones, and so of the validation images
===============  ====================================================================================

With ``all``, every image of a known class is labeled, or, where the labels have another shape, as many as it allows.
Validation comes first where it is apart: ``pets_HELDOUT.1@all-200`` labels all but 200 images, and at least one of each
class. The seed then has nothing to draw.

The protocols of the literature, on CIFAR-10:

- MCAR, balanced: ``cifar10.1@40-1``
- MNAR (Hu et al., ICLR 2022), long-tailed labels and balanced unlabeled images: ``cifar10_LT_20.1@20-1``
- DARP (Kim et al., NeurIPS 2020), N1 = 1500, γ_l = 100, M1 = 3000, γ_u = 50:
  ``cifar10_LT_100_ULT_50_DISJOINT.1@1500+3000-1``, and reversed ``cifar10_LT_100_UREV_50_DISJOINT.1@1500+3000-1``
- CReST (Wei et al., CVPR 2021), 10 % of the images of a long-tailed set have labels, γ = 100:
  ``cifar10_LT_100_ULT_100.1@500-1``
- SimPro (Du et al., ICML 2024), N1 = 500, M1 = 4000, γ_l = 150: consistent
  ``cifar10_LT_150_ULT_150_DISJOINT.1@500+4000-1``, uniform ``_ULT_1``, reversed ``_UREV_150``, middle ``_UMID_150`` and
  head-tail ``_UHT_150``
- PRG (Duan et al., ICCV 2023), 40 labels and N1 = 10: ``cifar10_N1_10.1@40-1``; with γ_u = 5, which its program
  reverses: ``cifar10_N1_10_UREV_5.1@40-1``
- random class shares: ``cifar10_RAND.1@250-1``
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cissl.errors import UserError

Number = TypeVar("Number", int, float)
NAME = r"[a-z][a-z0-9_-]*"  # lower case, so that no name ends in what reads as a suffix
WHOLE = r"\d{1,18}"  # no data set is larger, and Python refuses to read numbers of thousands of digits
NUMBER = rf"{WHOLE}(?:\.\d{{1,40}})?"
ALL = "all"  # in place of a number of labels
UNLABELED_SHAPES = {"LT": "", "REV": "reversed", "MID": "middle", "HT": "head-tail"}  # and what tables call them
SPEC = re.compile(
    rf"(?P<name>{NAME})"
    rf"(?:_LT_(?P<ratio>{NUMBER})|_N1_(?P<largest>{WHOLE})|(?P<random>_RAND))?"
    rf"(?:_U(?P<shape>{'|'.join(UNLABELED_SHAPES)})_(?P<unlabeled_ratio>{NUMBER}))?"
    r"(?P<by_size>_BYSIZE)?"
    r"(?P<apart>_DISJOINT|_HELDOUT)?"
    rf"\.(?P<seed>{WHOLE})@(?P<size>{WHOLE}|{ALL})(?:\+(?P<unlabeled_largest>{WHOLE}))?-(?P<valid>{WHOLE})",
    re.ASCII,
)
LARGEST_SEED = 2**32 - 1  # of NumPy's legacy generator


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A data set and its split: all that decides which images are labeled, unlabeled and validation.

    At most one of ``imbalance_ratio``, ``largest`` and ``random`` shapes the labels.

    Raises:
        UserError: a number is out of range, or two settings contradict each other.
    """

    name: str
    imbalance_ratio: float | None = None
    """γ: labels of the largest class ÷ labels of the smallest."""
    largest: int | None = None
    """N1: labels of the largest class, where ``size`` counts all labels."""
    random: bool = False
    """Random class shares of the labels."""
    unlabeled_ratio: float | None = None
    """γ_u of long-tailed unlabeled images; None takes every image."""
    unlabeled_shape: str = "LT"
    """Which unlabeled classes are the largest: one of `UNLABELED_SHAPES`."""
    unlabeled_largest: int | None = None
    """M1: images of the largest unlabeled class; None for as many as the data can give."""
    by_size: bool = False
    """The classes of a long tail are taken from the one with most images to the one with fewest."""
    disjoint: bool = False
    """Labeled images are left out of the unlabeled ones, and so of the validation images."""
    held_out: bool = False
    """Labeled images are left out of the validation images alone."""
    seed: int
    size: int | None
    """Number of labels; with an imbalance ratio, labels of the largest class. None for as many as the data can give."""
    valid: int
    """Number of validation images."""

    def __post_init__(self) -> None:
        for what, ratio in (("", self.imbalance_ratio), ("unlabeled ", self.unlabeled_ratio)):
            _require(
                ratio is None or ratio >= 1,
                f"{what}imbalance ratio {ratio} is below 1: it is the largest class ÷ the smallest",
            )
        _require(
            self.unlabeled_shape in UNLABELED_SHAPES,
            f"unlabeled shape '{self.unlabeled_shape}' is none of {', '.join(UNLABELED_SHAPES)}",
        )
        _require(0 <= self.seed <= LARGEST_SEED, f"seed {self.seed} is not between 0 and {LARGEST_SEED}")
        _require(self.size is None or self.size >= 1, f"labeled size {self.size} is below 1")
        _require(self.valid >= 1, f"validation size {self.valid} is below 1 (1 is the usual small choice)")
        _require(not (self.disjoint and self.held_out), "_DISJOINT leaves labeled images out of validation already")
        _require(sum(self._label_shapes()) <= 1, "only one of imbalance_ratio, largest and random can shape the labels")
        _require(
            self.largest is None or self.size is not None, "_N1_ shares out a number of labels: give it instead of all"
        )
        _require(
            self.largest is None or self.size is None or 1 <= self.largest <= self.size,
            f"the largest class cannot have {self.largest} of {self.size} labels",
        )
        _require(
            not self.by_size or any((self.imbalance_ratio, self.largest, self.unlabeled_ratio)),
            "_BYSIZE orders the classes of a long tail, and there is none: it needs _LT_, _N1_ or one of "
            + ", ".join(f"_U{shape}_" for shape in UNLABELED_SHAPES),
        )
        _require(
            self.unlabeled_largest is None or self.unlabeled_ratio is not None,
            f"+{self.unlabeled_largest} is the size of the largest unlabeled class and needs one of "
            + ", ".join(f"_U{shape}_" for shape in UNLABELED_SHAPES),
        )
        _require(
            self.unlabeled_largest is None or self.unlabeled_largest >= 1,
            f"largest unlabeled class of {self.unlabeled_largest} images is below 1",
        )

    def __str__(self) -> str:
        unlabeled_largest = "" if self.unlabeled_largest is None else f"+{self.unlabeled_largest}"
        return f"{self.protocol}.{self.seed}@{self.size_text}{unlabeled_largest}-{self.valid}"

    @property
    def protocol(self) -> str:
        """What stands before the seed, such as ``cifar10_LT_20``."""
        order = "_BYSIZE" if self.by_size else ""
        return f"{self.name}{self._label_suffix()}{self._unlabeled_suffix()}{order}{self._apart_suffix()}"

    @property
    def shapes_labels(self) -> bool:
        """Whether the labels have other class proportions than the data set."""
        return any(self._label_shapes())

    @property
    def size_text(self) -> str:
        """The number of labels as the name has it."""
        return ALL if self.size is None else str(self.size)

    def _label_shapes(self) -> tuple[bool, bool, bool]:
        return self.imbalance_ratio is not None, self.largest is not None, self.random

    def _label_suffix(self) -> str:
        if self.imbalance_ratio is not None:
            return f"_LT_{_plain(self.imbalance_ratio)}"
        if self.largest is not None:
            return f"_N1_{self.largest}"
        return "_RAND" if self.random else ""

    def _unlabeled_suffix(self) -> str:
        if self.unlabeled_ratio is None:
            return ""
        return f"_U{self.unlabeled_shape}_{_plain(self.unlabeled_ratio)}"

    def _apart_suffix(self) -> str:
        if self.disjoint:
            return "_DISJOINT"
        return "_HELDOUT" if self.held_out else ""


def parse_spec(text: str) -> DatasetSpec:
    """The spec that ``text`` names; ``str`` is the inverse.

    Raises:
        UserError: the text has another form, or a number is out of range.
    """
    match = SPEC.fullmatch(str(text).strip())
    if match is None:
        raise UserError(
            f"'{text}' is not the name of a split; write <name>[_LT_<imbalance ratio>].<seed>@<size>-<valid> with a "
            f"lower-case name, for example cifar10.1@40-1 or cifar10_LT_20.1@20-1; all forms are in "
            f"cissl/datasets/spec.py",
            key="dataset",
        )
    try:
        return DatasetSpec(
            name=match["name"],
            imbalance_ratio=_optional(float, match["ratio"]),
            largest=_optional(int, match["largest"]),
            random=match["random"] is not None,
            unlabeled_ratio=_optional(float, match["unlabeled_ratio"]),
            unlabeled_shape=match["shape"] or "LT",
            unlabeled_largest=_optional(int, match["unlabeled_largest"]),
            by_size=match["by_size"] is not None,
            disjoint=match["apart"] == "_DISJOINT",
            held_out=match["apart"] == "_HELDOUT",
            seed=int(match["seed"]),
            size=None if match["size"] == ALL else int(match["size"]),
            valid=int(match["valid"]),
        )
    except UserError as error:
        raise UserError(f"'{text}': {error}", key="dataset") from None


def _optional(convert: Callable[[str], Number], text: str | None) -> Number | None:
    return None if text is None else convert(text)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message, key="dataset")


def _plain(number: float) -> str:
    """Without an exponent or a needless ``.0``: 20.0 is written 20."""
    return str(int(number)) if number == int(number) else repr(number)
