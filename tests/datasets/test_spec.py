"""Names of splits: parsing, the inverse, and what is refused."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cissl.datasets.spec import UNLABELED_SHAPES, DatasetSpec, parse_spec
from cissl.errors import UserError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("cifar10.1@40-1", DatasetSpec(name="cifar10", seed=1, size=40, valid=1)),
        ("cifar10_LT_20.1@20-1", DatasetSpec(name="cifar10", imbalance_ratio=20, seed=1, size=20, valid=1)),
        ("cifar100_LT_100.2@100-500", DatasetSpec(name="cifar100", imbalance_ratio=100, seed=2, size=100, valid=500)),
        ("my-own_7_LT_12.5.0@7-3", DatasetSpec(name="my-own_7", imbalance_ratio=12.5, seed=0, size=7, valid=3)),
        ("cifar10_RAND.1@250-1", DatasetSpec(name="cifar10", random=True, seed=1, size=250, valid=1)),
        (
            "cifar10_LT_100_ULT_100.1@500-1",
            DatasetSpec(name="cifar10", imbalance_ratio=100, unlabeled_ratio=100, seed=1, size=500, valid=1),
        ),
        (
            "cifar10_LT_100_UREV_50_DISJOINT.2@1500+3000-1",
            DatasetSpec(
                name="cifar10",
                imbalance_ratio=100,
                unlabeled_ratio=50,
                unlabeled_shape="REV",
                unlabeled_largest=3000,
                disjoint=True,
                seed=2,
                size=1500,
                valid=1,
            ),
        ),
        (
            "cifar10_N1_10_UREV_5.1@40-1",
            DatasetSpec(name="cifar10", largest=10, unlabeled_ratio=5, unlabeled_shape="REV", seed=1, size=40, valid=1),
        ),
        (
            "cifar10_LT_150_UHT_150_DISJOINT.1@500+4000-1",
            DatasetSpec(
                name="cifar10",
                imbalance_ratio=150,
                unlabeled_ratio=150,
                unlabeled_shape="HT",
                unlabeled_largest=4000,
                disjoint=True,
                seed=1,
                size=500,
                valid=1,
            ),
        ),
        ("pets.1@all-1", DatasetSpec(name="pets", seed=1, size=None, valid=1)),
        (
            "pets_LT_10_UREV_5_BYSIZE_HELDOUT.1@all+9-7",
            DatasetSpec(
                name="pets",
                imbalance_ratio=10,
                unlabeled_ratio=5,
                unlabeled_shape="REV",
                unlabeled_largest=9,
                by_size=True,
                held_out=True,
                seed=1,
                size=None,
                valid=7,
            ),
        ),
        ("cifar10_DISJOINT.1@40-1", DatasetSpec(name="cifar10", disjoint=True, seed=1, size=40, valid=1)),
        (
            "cifar10_LT_20_HELDOUT.1@20-200",
            DatasetSpec(name="cifar10", imbalance_ratio=20, held_out=True, seed=1, size=20, valid=200),
        ),
    ],
)
def test_a_spec_is_read_and_written_back(text, expected):
    assert parse_spec(text) == expected
    assert str(expected) == text


def test_needless_digits_do_not_make_another_spec():
    assert str(parse_spec(" cifar10_LT_20.0.01@020-01 ")) == "cifar10_LT_20.1@20-1"


@settings(max_examples=50, deadline=None)
@given(
    name=st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True),
    labels=st.just({})
    | st.just({"random": True})
    | st.builds(dict, largest=st.integers(1, 10))
    | st.builds(dict, imbalance_ratio=st.floats(1, 1e6)),
    unlabeled=st.just({})
    | st.builds(
        dict,
        unlabeled_ratio=st.floats(1, 1e6),
        unlabeled_shape=st.sampled_from(sorted(UNLABELED_SHAPES)),
        unlabeled_largest=st.none() | st.integers(1, 10**6),
    ),
    numbers=st.builds(
        dict,
        seed=st.integers(0, 2**32 - 1),
        size=st.integers(10, 10**6) | st.none(),
        valid=st.integers(1, 10**5),
    ),
    by_size=st.booleans(),
    apart=st.sampled_from([{}, {"disjoint": True}, {"held_out": True}]),
)
def test_parse_is_the_inverse_of_str(name, labels, unlabeled, numbers, by_size, apart):
    assume(numbers["size"] is not None or "largest" not in labels)
    assume(not by_size or "largest" in labels or "imbalance_ratio" in labels or unlabeled)
    spec = DatasetSpec(name=name, **labels, **unlabeled, **numbers, by_size=by_size, **apart)
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cifar10",
        "cifar10@40-1",
        "cifar10.1@40",
        "cifar10.1-40@1",
        "cifar10_LT.1@20-1",
        "cifar10_LT_x.1@20-1",
        "cifar10_LT_-5.1@20-1",
        "cifar10.-1@40-1",
        "../etc.1@40-1",
        "cifar10.1@40-1 and more",
        "10cifar.1@40-1",
        "Cifar10.1@40-1",
        "cifar10.1@٤٠-1",
        "cifar10.1@" + "9" * 5000 + "-1",
        "cifar10_LT_1" + "0" * 400 + ".1@20-1",
    ],
)
def test_malformed_text_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="cifar10_LT_20.1@20-1") as caught:
        parse_spec(text)
    assert repr(text)[1:-1] in str(caught.value) and caught.value.key == "dataset"


def test_validation_is_kept_apart_in_one_way():
    with pytest.raises(UserError, match="_DISJOINT leaves labeled images out of validation already"):
        DatasetSpec(name="cifar10", disjoint=True, held_out=True, seed=1, size=40, valid=1)


def test_an_unknown_unlabeled_shape_is_refused():
    with pytest.raises(UserError, match="unlabeled shape 'UP' is none of LT, REV, MID, HT"):
        DatasetSpec(name="cifar10", unlabeled_ratio=2, unlabeled_shape="UP", seed=1, size=40, valid=1)


def test_two_shapes_of_the_labels_are_refused():
    with pytest.raises(UserError, match="only one of"):
        DatasetSpec(name="cifar10", imbalance_ratio=10, random=True, seed=1, size=40, valid=1)


@pytest.mark.parametrize(
    "text, mistake",
    [
        ("cifar10_LT_0.5.1@20-1", "imbalance ratio 0.5 is below 1"),
        ("cifar10.1@0-1", "labeled size 0"),
        ("cifar10.1@40-0", "validation size 0"),
        ("cifar10.4294967296@40-1", "seed 4294967296"),
        ("cifar10_ULT_0.1.1@40-1", "unlabeled imbalance ratio 0.1 is below 1"),
        ("cifar10_N1_50.1@40-1", "cannot have 50 of 40 labels"),
        ("cifar10_N1_50.1@all-1", "_N1_ shares out a number of labels: give it instead of all"),
        ("cifar10_BYSIZE.1@40-1", "_BYSIZE orders the classes of a long tail, and there is none"),
        ("cifar10_RAND_BYSIZE.1@40-1", "_BYSIZE orders the classes of a long tail, and there is none"),
        ("cifar10.1@40+3000-1", r"\+3000 .* needs one of _ULT_, _UREV_, _UMID_, _UHT_"),
        ("cifar10_ULT_10.1@40+0-1", "largest unlabeled class of 0 images"),
    ],
)
def test_numbers_out_of_range_are_refused_with_their_value(text, mistake):
    with pytest.raises(UserError, match=mistake) as caught:
        parse_spec(text)
    assert text in str(caught.value) and caught.value.key == "dataset"
