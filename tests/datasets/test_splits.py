"""Labeled indices and unlabeled order: the authors' own lists, a literal oracle, properties, refusals."""

import hashlib
import json
from collections import deque
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cissl.datasets import splits
from cissl.errors import UserError

REFERENCE = Path(__file__).parents[1] / "reference"
LABELED = json.loads((REFERENCE / "splits_labeled.json").read_text())
UNLABELED = json.loads((REFERENCE / "splits_unlabeled.json").read_text())


@pytest.fixture(scope="module")
def sources():
    """The label arrays of the reference, by name."""
    return {
        "cifar10": np.load(REFERENCE / "splits_cifar10_labels.npz")["labels"].astype(np.int64),
        "synth100s7": np.random.RandomState(7).permutation(np.repeat(np.arange(100), 500)),
        "uneven10s5": np.random.RandomState(5).permutation(np.repeat(np.arange(10), 400 - 30 * np.arange(10))),
        "stl10s3": np.concatenate(
            [np.random.RandomState(3).permutation(np.repeat(np.arange(10), 50)), np.zeros(1000, int)]
        ),
    }


def sha256(numbers):
    return hashlib.sha256(",".join(map(str, numbers)).encode()).hexdigest()


def case_name(case):
    return "-".join(str(case[key]) for key in ("source", "style", "seed", "size", "lamda") if key in case)


def test_the_sources_are_the_references_own(sources):
    assert {name: sha256(labels) for name, labels in sources.items()} == LABELED["source_sha256"]


@pytest.mark.parametrize("case", LABELED["cases"], ids=case_name)
def test_labeled_indices_equal_the_reference(case, sources):
    ratio = case["lamda"] if case["style"] == "LT" else None
    labels = sources[case["source"]]
    drawn = splits.labeled_indices(
        labels, size=case["size"], seed=case["seed"], imbalance_ratio=ratio, random=case["style"] == "rand"
    )
    assert drawn.dtype == np.int64
    assert drawn.tolist() == case["label"]
    assert splits.class_counts(labels[drawn]).tolist() == case["class_counts"]


@pytest.mark.parametrize("case", UNLABELED["cases"], ids=case_name)
def test_unlabeled_order_and_validation_equal_the_reference(case, sources):
    labels = sources[case["source"]]
    if case["source"] == "stl10s3":  # the reference calls unlabeled images class 0; here they have none
        labels = np.where(np.arange(len(labels)) < 500, labels, -1)
    ratio = case["lamda"]
    reverse = ratio is not None and ratio < 1
    shape = "REV" if reverse else "LT"
    order = splits.unlabeled_order(labels, imbalance_ratio=1 / ratio if reverse else ratio, shape=shape)
    assert order[:200].tolist() == case["first200"]
    assert sha256(order) == case["sha256"]
    for cut in case["valid"]:
        valid, train = splits.cut_validation(order, cut["n"], labels)
        assert (sha256(valid), sha256(train)) == (cut["valid_sha256"], cut["train_sha256"])


def test_shares_equal_the_reference(sources):
    for case in LABELED["cases"]:
        if case["style"] == "LT":
            shares = splits.long_tailed_shares(case["nclass"], case["lamda"])
        elif case["style"] == "rand":
            shares = splits.random_shares(case["nclass"], case["seed"])
        else:
            shares = splits.matched_shares(sources[case["source"]])
        np.testing.assert_allclose(shares, case["distribution"], rtol=0, atol=1e-15)


def oracle_labeled(labels, shares, total, seed):
    """The draw as it is described: shuffled lists, one class at a time."""
    positions = [np.flatnonzero(labels == k) for k in range(len(shares))]
    if seed:
        generator = np.random.RandomState(seed)
        for members in positions:
            generator.shuffle(members)
    counts, drawn = np.zeros(len(shares)), []
    for _ in range(total):
        k = np.argmax(shares - counts / max(counts.max(), 1))
        drawn.append(positions[k][int(counts[k])])
        counts[k] += 1
    return sorted(drawn)


def oracle_order(labels, shares, rest):
    """The stream as it is described: images arrive one by one and wait in a queue per class."""
    queues, counts, order = [deque() for _ in shares], np.zeros(len(shares)), []
    for index, label in enumerate(labels):
        queues[label].append(index)
        while queues[k := int(np.argmax(shares - counts / max(counts.max(), 1)))]:
            order.append(queues[k].popleft())
            counts[k] += 1
    return order + [index for queue in queues for index in queue] * rest


label_arrays = (
    st.lists(st.integers(1, 25), min_size=2, max_size=7)
    .flatmap(lambda counts: st.permutations([k for k, count in enumerate(counts) for _ in range(count)]))
    .map(np.array)
)
ratios = st.none() | st.sampled_from([1.0, 1.7, 3.0, 10.0, 50.0])


@settings(max_examples=60, deadline=None)
@given(labels=label_arrays, ratio=ratios, shape=st.sampled_from(["LT", "REV", "MID", "HT"]))
def test_unlabeled_order_equals_the_queues(labels, ratio, shape):
    if ratio is None:
        expected = oracle_order(labels, splits.matched_shares(labels), rest=True)
    else:
        shares = splits.long_tailed_shares(labels.max() + 1, ratio, shape=shape)
        expected = oracle_order(labels, shares, rest=False)
    assert splits.unlabeled_order(labels, imbalance_ratio=ratio, shape=shape).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(labels=label_arrays, ratio=ratios, seed=st.integers(0, 5), size=st.integers(1, 30))
def test_labeled_indices_equal_the_lists_or_are_refused(labels, ratio, seed, size):
    shares, total = splits.matched_shares(labels), size
    if ratio is not None:
        shares = splits.long_tailed_shares(labels.max() + 1, ratio)
        total = sum(ceil(size * share) for share in shares)
    try:
        expected = oracle_labeled(labels, shares, total, seed)
    except IndexError:
        with pytest.raises(UserError, match="images, but the split wants"):
            splits.labeled_indices(labels, size=size, seed=seed, imbalance_ratio=ratio)
    else:
        drawn = splits.labeled_indices(labels, size=size, seed=seed, imbalance_ratio=ratio)
        assert drawn.tolist() == expected


def test_unknown_labels_are_never_drawn_and_stream_last():
    labels = np.array([-1, 0, 1, -1, 1, 0, -1])
    assert splits.labeled_indices(labels, size=4, seed=3).tolist() == [1, 2, 4, 5]
    assert splits.unlabeled_order(labels).tolist() == [1, 2, 5, 4, 0, 3, 6]


def test_a_class_that_cannot_fill_the_split_is_named():
    labels = np.repeat([0, 1], [30, 4])
    draw = partial(splits.labeled_indices, labels, seed=1, imbalance_ratio=2, class_names=["ship", "truck"])
    with pytest.raises(UserError, match="class 'truck' has 4 images, .* wants 10 labeled ones; 8 is the") as caught:
        draw(size=20)
    assert caught.value.key == "dataset"
    assert len(draw(size=8)) == 12
    with pytest.raises(UserError, match="class 'truck' has 4 images, .* wants 5 labeled ones; 8 is the"):
        draw(size=9)


@pytest.mark.parametrize(
    "settings, most",
    [
        ({}, 34),
        ({"random": True}, 7),
        ({"largest": 3}, 6),
        ({"largest": 5}, 9),
        ({"imbalance_ratio": 1}, 4),
        ({"imbalance_ratio": 30}, 30),
    ],
)
def test_the_largest_size_that_the_data_allow_is_named_and_true(settings, most):
    draw = partial(splits.labeled_indices, np.repeat([0, 1], [30, 4]), seed=1, **settings)
    assert len(draw(size=most))
    impossible = [size for size in (10**18, 35, most + 1) if size > most]
    for size in impossible:
        with pytest.raises(UserError, match=f"; {most} is the largest|choose a size from .* to {most}"):
            draw(size=size)


def test_a_split_of_no_possible_size_says_so():
    with pytest.raises(UserError, match="the split wants 50 labeled ones; they allow no size of this kind"):
        splits.labeled_indices(np.repeat([0, 1], [30, 4]), seed=1, size=50, largest=40)


def test_a_split_that_leaves_nothing_unlabeled_names_what_would():
    with pytest.raises(UserError, match="no unlabeled images are left.*take fewer labels, or leave out"):
        splits.cut_validation(np.empty(0, int), 1, np.array([0, 1, 0]))
    with pytest.raises(UserError, match="3 unlabeled images are left, of which 0 are of a known class"):
        splits.cut_validation(np.array([3, 4, 5]), 1, np.array([0, 1, 0, -1, -1, -1]))
    with pytest.raises(UserError, match="1 unlabeled images are left"):
        splits.cut_validation(np.array([2]), 1, np.array([0, 1, 0]))
    with pytest.raises(UserError, match="of which 0 are of a known class and have no label in training"):
        splits.cut_validation(np.arange(3), 1, np.array([0, 1, 0]), leave_out=np.arange(3))


@pytest.mark.parametrize("valid, limit", [(4, 3), (50, 3)])
def test_validation_cannot_take_everything_or_the_unknown(valid, limit):
    labels = np.array([0, 1, 0, -1, -1])
    with pytest.raises(UserError, match=f"{valid} validation images are more than the {limit}"):
        splits.cut_validation(splits.unlabeled_order(labels), valid, labels)
    with pytest.raises(UserError, match="more than the 2"):
        splits.cut_validation(np.arange(3), 3, np.array([0, 1, 0]))


def images_per_class(counts):
    """A balanced order of labels: class after class, again and again."""
    return np.array([k for turn in range(max(counts)) for k, count in enumerate(counts) if turn < count])


# The counts that Duan et al.'s program makes, for the settings of their table (1000 in 100 classes: the beginning).
@pytest.mark.parametrize(
    "classes, total, largest, counts",
    [
        (10, 40, 10, [10, 8, 6, 5, 3, 3, 2, 1, 1, 1]),
        (10, 40, 20, [20, 9, 4, 1, 1, 1, 1, 1, 1, 1]),
        (10, 100, 40, [40, 24, 14, 9, 5, 3, 2, 1, 1, 1]),
        (10, 250, 100, [100, 60, 37, 22, 13, 8, 5, 3, 1, 1]),
        (10, 250, 200, [200, 42, 1, 1, 1, 1, 1, 1, 1, 1]),
        (100, 1000, 40, [40, 37, 37, 35, 34, 33, 31, 30, 29, 28]),
        (100, 2500, 100, [100, 97, 93, 89, 86, 83, 78, 75, 73, 70]),
        (100, 2500, 200, [200, 184, 169, 155, 143, 131, 121, 111, 102, 94]),
    ],
)
def test_prg_class_counts_are_those_of_its_program(classes, total, largest, counts):
    drawn = splits.bounded_counts(classes, total, largest)
    assert drawn[:10].tolist() == counts
    assert drawn.sum() == total and len(drawn) == classes


@settings(max_examples=60, deadline=None)
@given(classes=st.integers(2, 12), largest=st.integers(1, 60), part=st.floats(0, 1))
def test_prg_class_counts_have_the_total_and_the_largest_class(classes, largest, part):
    fewest, most = largest + classes - 1, largest * classes
    total = round(fewest + part * (most - fewest))
    drawn = splits.bounded_counts(classes, total, largest)
    assert drawn.sum() == total and drawn[0] == drawn.max() == largest and drawn.min() >= 1


@pytest.mark.parametrize("total", [18, 101])
def test_impossible_prg_totals_name_the_possible_ones(total):
    with pytest.raises(UserError, match=f"{total} labels with 10 .* choose a size from 19 to 100"):
        splits.bounded_counts(10, total, 10)


def test_prg_labels_are_drawn_from_the_shuffled_classes():
    labels = images_per_class([100] * 10)
    drawn = splits.labeled_indices(labels, size=40, seed=2, largest=10)
    balanced = splits.labeled_indices(labels, size=1000, seed=2)
    assert splits.class_counts(labels[drawn]).tolist() == [10, 8, 6, 5, 3, 3, 2, 1, 1, 1]
    assert set(drawn) < set(balanced)


@pytest.mark.parametrize(
    "shape, counts",
    [
        ("LT", [3000, 1943, 1258, 815, 528, 342, 222, 144, 93, 60]),
        ("REV", [60, 93, 144, 222, 342, 528, 815, 1258, 1943, 3000]),
    ],
)
def test_darp_unlabeled_counts(shape, counts):
    """M1 = 3000, γ_u = 50: ceil(3000 · 50^(-k/9)), as in Kim et al. (NeurIPS 2020)."""
    labels = images_per_class([5000] * 10)
    order = splits.unlabeled_order(labels, imbalance_ratio=50, shape=shape, largest=3000)
    assert splits.class_counts(labels[order]).tolist() == counts
    assert len(set(order)) == len(order) == sum(counts)


@pytest.mark.parametrize(
    "classes, largest, ratio, shape, counts",
    [
        (10, 4000, 150, "MID", [46, 141, 431, 1313, 4000, 2292, 752, 247, 81, 26]),
        (10, 4000, 150, "HT", [2292, 752, 247, 81, 26, 46, 141, 431, 1313, 4000]),
        (10, 4000, 100, "MID", [66, 185, 516, 1437, 4000, 2397, 861, 309, 111, 40]),
        (10, 4000, 100, "HT", [2397, 861, 309, 111, 40, 66, 185, 516, 1437, 4000]),
        (5, 11, 100, "MID", [0, 1, 11, 3, 0]),
        (5, 11, 100, "HT", [3, 0, 0, 1, 11]),
        (5, 7, 1, "MID", [7, 7, 7, 7, 7]),
    ],
)
def test_simpro_unlabeled_counts(classes, largest, ratio, shape, counts):
    """int(M1 · γ^(-k/(C-1))), the last int(M1/γ), reordered, as in Du et al. (ICML 2024)."""
    labels = images_per_class([5000 if largest > 100 else 20] * classes)
    order = splits.unlabeled_order(labels, imbalance_ratio=ratio, shape=shape, largest=largest)
    assert splits.class_counts(labels[order], classes).tolist() == counts
    assert len(set(order)) == len(order) == sum(counts)


@settings(max_examples=60, deadline=None)
@given(
    classes=st.integers(2, 12),
    largest=st.integers(1, 60),
    ratio=st.floats(1, 300),
    shape=st.sampled_from(["MID", "HT"]),
)
def test_middle_and_head_tail_streams_keep_their_proportions_throughout(classes, largest, ratio, shape):
    labels = images_per_class([60] * classes)
    order = labels[splits.unlabeled_order(labels, imbalance_ratio=ratio, shape=shape, largest=largest)]
    counts = splits.class_counts(order, classes)
    sizes = sorted(counts.tolist(), reverse=True)
    assert sizes[0] == largest and sizes[-1] == int(largest / ratio)
    assert counts[(classes - 1) // 2 if shape == "MID" else -1] == largest
    half = splits.class_counts(order[: (len(order) + 1) // 2], classes)
    assert (np.abs(half / half.max() - counts / largest) <= 1.5 / half.max()).all()


def test_left_out_images_are_not_in_the_stream_and_leave_no_gap():
    labels = images_per_class([40, 30, 20])
    labeled = splits.labeled_indices(labels, size=12, seed=1)
    everything = splits.unlabeled_order(labels, leave_out=labeled)
    assert sorted([*everything, *labeled]) == list(range(len(labels)))
    limited = splits.unlabeled_order(labels, imbalance_ratio=4, largest=20, leave_out=labeled)
    assert splits.class_counts(labels[limited]).tolist() == [20, 10, 5]
    assert not set(limited) & set(labeled)


def test_an_unlabeled_class_that_is_too_small_is_named():
    labels = images_per_class([40, 30, 20])
    with pytest.raises(UserError, match="class 'cat' has 20 images, but the split wants 25 unlabeled ones"):
        splits.unlabeled_order(labels, imbalance_ratio=1, largest=25, class_names=["ant", "bee", "cat"])


def test_unknown_classes_cannot_be_made_long_tailed():
    with pytest.raises(UserError, match="the class of 2 of them is unknown"):
        splits.unlabeled_order(np.array([0, 1, -1, -1]), imbalance_ratio=10)
