"""Names of algorithms and the combinations that mean something."""

import pytest

from cissl.algorithms.names import ALGORITHMS, from_switches, parse_algorithm
from cissl.errors import UserError


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_name_is_its_own_parse(name):
    assert parse_algorithm(name).name == name


@pytest.mark.parametrize(
    "text,name",
    [
        ("CADR", "cadr"),
        ("CAP+CAI+CADR", "cadr"),
        ("cadr + cap + cai", "cadr"),
        ("cai+cap", "cap+cai"),
        ("fixmatch+cap", "cap"),
        ("cadr+cap", "cap+cadr"),
        ("FixMatch", "fixmatch"),
    ],
)
def test_other_spellings(text, name):
    assert parse_algorithm(text).name == name


@pytest.mark.parametrize("text", ["cai+cadr", "fixmatch+cadr"])
def test_cadr_without_cap_is_explained(text):
    with pytest.raises(UserError, match="CADR needs CAP") as error:
        parse_algorithm(text)
    assert error.value.key == "algorithm"


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match="did you mean 'fixmatch'"):
        parse_algorithm("fixmach")


def test_switches_and_names_agree():
    for algorithm in ALGORITHMS.values():
        if algorithm.unlabeled:
            assert from_switches(cap=algorithm.cap, cai=algorithm.cai, cadr=algorithm.cadr) == algorithm
