"""The augmentation triple ``labeled.weak.strong``: one letter for each of the three views of a step.

letter      view
----------  ------------------------------------------------------------------------------------------
x           the image itself
m           random mirror
d           the data set's default: random mirror (if the data set allows it) and shift with reflect
            padding; as third letter: the default, then CTAugment, then cutout
ra, rac     the default, then RandAugment: 2 operations, each applied with probability 1/2, with uniform
            magnitudes from 1 to 9; rac also cuts out a square of 16 pixels, or of half the side if this is less
rN_M_C      the default, then N RandAugment operations of magnitude M, then a cutout of C % of the side
aa, aac     the default, then the data set's AutoAugment policy; aac also has rac's cutout
"""

import re

from cissl.augment.autoaugment_policies import policy_of
from cissl.errors import UserError, nearest

LARGEST_MAGNITUDE = 15
LETTERS = ("x", "m", "d", "ra", "rac", "aa", "aac")
FIXED = re.compile(r"r([0-9]+)_([0-9]+)_([0-9]+)")


def parse_triple(text: str, dataset: str) -> tuple[str, str, str]:
    """Split and check a triple such as ``d.d.d`` or ``d.d.r2_9_50``.

    Raises:
        UserError: there are not three letters, a letter does not exist, a number is out of range, or AutoAugment has no
            policy for the data set.
    """
    letters = str(text).split(".")
    if len(letters) != 3:
        raise UserError(
            f"augment: {text!r} is not three letters labeled.weak.strong; write for example 'd.d.d'",
            key="augment",
        )
    for letter in letters:
        _check_letter(letter, text)
        if letter in ("aa", "aac"):
            policy_of(dataset)
    return letters[0], letters[1], letters[2]


def _check_letter(letter: str, text: str) -> None:
    fixed = FIXED.fullmatch(letter)
    if fixed:
        count, magnitude, percent = map(int, fixed.groups())
        if count >= 1 and 1 <= magnitude <= LARGEST_MAGNITUDE and percent <= 100:
            return
        raise UserError(
            f"augment: {letter!r} in {text!r} is out of range: rN_M_C takes N from 1, M from 1 to "
            f"{LARGEST_MAGNITUDE} and C from 0 to 100, for example 'r2_9_50'",
            key="augment",
        )
    if letter not in LETTERS:
        known = nearest(letter, (*LETTERS, "rN_M_C"))
        raise UserError(f"augment: unknown letter {letter!r} in {text!r}{known}", key="augment")
