"""Sums of a base and an add-on of the package: those that mean something, and those that do not."""

import itertools

from cissl.algorithms.cards import ADD_ON, BASE, DEFAULT_BASE, built_in, find
from cissl.errors import UserError

BASES = [card.name for card in built_in().values() if card.kind == BASE]
ADD_ONS = [card.name for card in built_in().values() if card.kind == ADD_ON]


def with_base(add_on: str, base: str = DEFAULT_BASE) -> str:
    """The sum of a base, an add-on, and whatever else the add-on needs."""
    return "+".join([base, *built_in()[add_on].needs, add_on])


def allowed_pairs() -> list[str]:
    """The canonical names of all sums of a base and an add-on that mean something."""
    pairs = [with_base(add_on, base) for base, add_on in itertools.product(BASES, ADD_ONS)]
    return [find(pair).name for pair in pairs if refusal(pair) is None]


def refusal(name: str) -> UserError | None:
    """Why a sum means nothing; None where it means something."""
    try:
        find(name)
    except UserError as error:
        return error
    return None
