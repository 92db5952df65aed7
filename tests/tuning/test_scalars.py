"""Words without quotes: those that have the value that a person expects, and those that are refused."""

import pytest

from cissl.tuning.scalars import LARGEST, read


@pytest.mark.parametrize(
    "word, value",
    [
        ("", None),
        ("null", None),
        ("True", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("5e-4", 5e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("0.95", 0.95),
        ("cifar10", "cifar10"),
        ("1_0", "1_0"),
        ("1e", "1e"),
        (str(LARGEST), LARGEST),
    ],
)
def test_values_are_what_a_person_expects(word, value):
    found = read(word)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "word, message",
    [
        ("yes", "YAML reads yes as true; write true, or 'yes' in quotes"),
        ("Off", "YAML reads Off as false"),
        ("010", "010 is a number that begins with 0"),
        ("0x1f", "0x1f is a number that is not decimal"),
        ("1:30", "1:30 is a number to the base 60 for YAML"),
        (".inf", ".inf is not a finite number"),
        (str(LARGEST + 1), "the number is too large"),
        ("1e999", "1e999 is too large a number"),
        ("1e-999", "1e-999 is too small to be told from 0"),
    ],
)
def test_what_yaml_reads_otherwise_is_refused(word, message):
    with pytest.raises(ValueError) as refused:
        read(word)
    assert message in str(refused.value)
