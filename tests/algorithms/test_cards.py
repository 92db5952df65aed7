"""Names of methods and the combinations that mean something."""

import pytest

from cissl.algorithms import cards
from cissl.algorithms.cards import built_in, find, from_switches
from cissl.errors import UserError

FIRST = ("supervised", "fixmatch", "cap", "cai", "cap+cai", "cap+cadr", "cadr")


@pytest.mark.parametrize("name", [*FIRST, *(card.name for card in built_in().values() if card.kind == cards.BASE)])
def test_a_name_is_its_own_parse(name):
    assert find(name).name == name


@pytest.mark.parametrize(
    "text,name",
    [
        ("CADR", "cadr"),
        ("CAP+CAI+CADR", "cadr"),
        ("cadr + cap + cai", "cadr"),
        ("fixmatch+cap+cai+dr", "cadr"),
        ("cai+cap", "cap+cai"),
        ("fixmatch+cap", "cap"),
        ("cadr+cap", "cap+cadr"),
        ("cap+dr", "cap+cadr"),
        ("FixMatch", "fixmatch"),
    ],
)
def test_other_spellings(text, name):
    assert find(text).name == name


@pytest.mark.parametrize("text", ["cai+cadr", "fixmatch+cadr", "dr"])
def test_cadr_without_cap_is_explained(text):
    with pytest.raises(UserError, match="CADR needs CAP") as error:
        find(text)
    assert error.value.key == "algorithm"


@pytest.mark.parametrize(
    "text,words",
    [
        ("fixmach", ["did you mean 'fixmatch'"]),
        ("fixmatch+", ["unknown algorithm 'fixmatch+'"]),
        ("+", ["unknown algorithm"]),
        ("", ["unknown algorithm"]),
        ("supervised+fixmatch", ["Supervised", "FixMatch", "whole methods"]),
        ("supervised+cai", ["Supervised", "CAI", "pseudo-labels are kept"]),
        ("supervised+cap", ["Supervised", "CAP", "cap_ema_momentum"]),
        ("cap+cap", ["CAP", "twice"]),
    ],
)
def test_what_means_nothing_is_refused_with_both_names_and_the_reason(text, words):
    with pytest.raises(UserError) as error:
        find(text)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_switches_and_names_agree():
    for name in FIRST[1:]:
        parts = {card.name for card in find(name).add_ons}
        assert from_switches(cap="cap" in parts, cai="cai" in parts, cadr="dr" in parts).name == name


def test_every_card_says_what_a_reader_needs():
    for card in built_in().values():
        assert card.title and card.name == card.name.lower()
        assert card.name == "supervised" or (card.paper and card.venue), card.name
        for key, field in card.fields.items():
            assert field.metadata["help"], key
