"""The methods of the package, for tests that try them all."""

from cissl.algorithms.cards import ADD_ON, BASE, built_in

BASES = [card.name for card in built_in().values() if card.kind == BASE]
ADD_ONS = [card.name for card in built_in().values() if card.kind == ADD_ON]


def with_base(add_on, base="fixmatch"):
    """A sum in which an add-on stands with all that it needs."""
    return "+".join([base, *built_in()[add_on].needs, add_on])


METHODS = [*BASES, *map(with_base, ADD_ONS), "cadr"]
