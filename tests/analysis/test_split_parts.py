import pytest

from cissl.analysis.split_parts import split_parts


def test_spec_is_taken_apart():
    assert split_parts("cifar10_LT_20.1@20-1") == {
        "name": "cifar10",
        "imbalance_ratio": 20.0,
        "labels": None,
        "unlabeled": None,
        "split_seed": 1,
        "size": 20,
        "valid": 1,
    }
    assert split_parts("cifar10.3@4000-5000")["imbalance_ratio"] is None
    assert split_parts("own-set_2_LT_2.5_UREV_50_DISJOINT.0@1500+3000-1") == {
        "name": "own-set_2",
        "imbalance_ratio": 2.5,
        "labels": None,
        "unlabeled": "UREV_50+3000 DISJOINT",
        "split_seed": 0,
        "size": 1500,
        "valid": 1,
    }
    assert split_parts("cifar10_N1_10.1@40-1")["labels"] == "N1_10"
    assert split_parts("cifar10_RAND.1@40-1")["labels"] == "RAND"
    assert split_parts("cifar10_N1_10_BYSIZE.1@40-1")["labels"] == "N1_10 BYSIZE"
    assert split_parts("cifar10_LT_10_BYSIZE.1@all-1") == split_parts("cifar10_LT_10.1@9-1") | {
        "labels": "BYSIZE",
        "size": "all",
    }
    assert split_parts("cifar10_ULT_7.5.1@40-1")["unlabeled"] == "ULT_7.5"
    assert split_parts("cifar10_LT_20_HELDOUT.1@20-200")["unlabeled"] == "HELDOUT"


@pytest.mark.parametrize("spec", ["cifar10", "cifar10@40-1", "cifar10.1@40", "cifar10_LT_x.1@4-1 "])
def test_spec_that_is_none_is_refused(spec):
    with pytest.raises(ValueError, match="not the name of a split"):
        split_parts(spec)


def test_parts_have_words_for_tables():
    parts = split_parts("own-set_2_N1_7_UREV_2.5_DISJOINT.0@15+30-1")
    assert parts["labels"].words == "N₁ = 7"
    assert split_parts("pets_N1_7_BYSIZE.1@15-1")["labels"].words == "N₁ = 7, classes by size"
    assert parts["unlabeled"].words == "γᵤ = 2.5 reversed, M₁ = 30, disjoint"
    assert split_parts("cifar10_ULT_50_HELDOUT.1@40-1")["unlabeled"].words == "γᵤ = 50, held-out validation"
