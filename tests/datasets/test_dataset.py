"""Loading: the embedded digits, prepared folders, folds, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cissl.datasets import embedded, load, store, writing
from cissl.errors import UserError


def tiny(classes=3, per_class=20, side=8, unknown=0, folds=None):
    labels = np.concatenate([np.tile(np.arange(classes), per_class), np.full(unknown, -1)])
    images = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    return store.SourceImages(
        class_names=[f"class {k}" for k in range(classes)],
        mirror=True,
        shift=4,
        train_images=images,
        train_labels=labels,
        test_images=images[:classes],
        test_labels=labels[:classes],
        folds=folds,
    )


@pytest.fixture
def prepared(tmp_path):
    """A data directory that holds the data set 'tiny'."""
    (tmp_path / "tiny").mkdir()
    writing.write(tmp_path / "tiny", tiny(), {})
    return tmp_path


def test_digits_are_the_scans_of_scikit_learn_divided_within_each_class():
    data, scans = load("digits.1@40-10"), load_digits()
    assert (data.side, data.channels, data.classes, data.mirror, data.shift) == (8, 1, 10, False, 1)
    assert data.images.dtype == data.test_images.dtype == np.uint8
    assert data.labels.dtype == data.test_labels.dtype == np.int64
    assert len(data.images) + len(data.test_images) == len(scans.images)
    assert data.images.max() == data.test_images.max() == 255
    for k in range(10):
        members = scans.images[scans.target == k]
        first_test = len(members) - len(members) * 30 // 100
        np.testing.assert_array_equal(data.images[data.labels == k][..., 0], np.round(members[:first_test] * 255 / 16))
        np.testing.assert_array_equal(
            data.test_images[data.test_labels == k][..., 0], np.round(members[first_test:] * 255 / 16)
        )


def test_a_split_has_what_its_name_says():
    data = load("digits_LT_20.1@20-10")
    assert data.labeled_counts == [20, 15, 11, 8, 6, 4, 3, 2, 2, 1]
    assert len(data.valid) == 10 and len(data.unlabeled) == len(data.images) - 10
    assert sorted([*data.valid, *data.unlabeled]) == list(range(len(data.images)))
    assert sum(data.unlabeled_counts) == len(data.unlabeled)
    assert data.labeled.dtype == data.valid.dtype == data.unlabeled.dtype == np.int64


def test_validation_images_that_are_labeled_too_are_counted():
    data = load("digits_LT_20.1@21-200")
    assert data.valid_labeled == len(set(data.valid) & set(data.labeled)) == 12
    unshuffled = load("digits.0@60-60")  # seed 0: labels and validation are both the first images of each class
    assert unshuffled.valid_labeled == 60 and set(unshuffled.valid) == set(unshuffled.labeled)


def test_held_out_validation_passes_over_labeled_images_and_leaves_them_to_training():
    plain, held_out = load("digits_LT_20.1@21-200"), load("digits_LT_20_HELDOUT.1@21-200")
    assert held_out.valid_labeled == 0 and len(held_out.valid) == 200
    np.testing.assert_array_equal(held_out.labeled, plain.labeled)
    order = [*plain.valid, *plain.unlabeled]  # the stream before validation was cut from it
    expected = [index for index in order if index not in set(plain.labeled)][:200]
    assert held_out.valid.tolist() == expected
    assert held_out.unlabeled.tolist() == [index for index in order if index not in set(expected)]
    assert load("digits_LT_20_DISJOINT.1@21-200").valid_labeled == 0


def test_held_out_validation_that_the_data_cannot_give_is_refused():
    images = len(load("digits.1@40-1").images)
    with pytest.raises(UserError, match=f"{images} validation images are more than the {images - 40} "):
        load(f"digits_HELDOUT.1@40-{images}")


def test_the_hash_follows_the_indices():
    names = ["digits.1@40-10", "digits.2@40-10", "digits.1@50-10", "digits.1@40-11", "digits_LT_20.1@20-10"]
    hashes = [load(name).split_hash for name in names]
    assert len(set(hashes)) == len(names)
    assert load(names[0]).split_hash == hashes[0] and len(hashes[0]) == 12


def test_the_content_hash_follows_everything_that_training_sees(tmp_path):
    def hash_of(name, **changes):
        (tmp_path / name).mkdir()
        writing.write(tmp_path / name, replace(tiny(), **changes), {"source": name})
        return load(f"{name}.1@6-3", tmp_path).content_hash

    first = hash_of("first")
    assert len(first) == 12 and hash_of("again") == first and load("first.2@9-1", tmp_path).content_hash == first
    one_pixel, one_label = tiny().train_images, tiny().test_labels
    one_pixel[7, 3, 2, 1] ^= 1
    one_label[0] = 1
    others = [
        hash_of("pixel", train_images=one_pixel),
        hash_of("label", test_labels=one_label),
        hash_of("names", class_names=["a", "b", "c"]),
        hash_of("mirror", mirror=False),
        hash_of("shift", shift=3),
        hash_of("folds", folds=np.array([[5, 1, 0]])),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_embedded_and_prepared_data_of_one_content_have_one_hash(tmp_path):
    (tmp_path / "copy").mkdir()
    writing.write(tmp_path / "copy", embedded.digits(), {})
    assert load("copy.1@40-1", tmp_path).content_hash == load("digits.1@40-1").content_hash


def test_prepared_images_are_mapped_and_found_by_argument_or_environment(prepared, monkeypatch):
    data = load("tiny.1@6-3", prepared)
    assert isinstance(data.images, np.memmap)
    np.testing.assert_array_equal(data.images, tiny().train_images)
    monkeypatch.setenv("ML_DATA", str(prepared))
    assert load("tiny.1@6-3").split_hash == data.split_hash


def test_the_size_of_the_own_folds_selects_a_fold(tmp_path):
    folds = np.array([[5, 1, 0], [8, 7, 6]])
    (tmp_path / "stl").mkdir()
    writing.write(tmp_path / "stl", tiny(unknown=30, folds=folds), {})
    assert load("stl.0@3-1", tmp_path).labeled.tolist() == [0, 1, 5]
    assert load("stl.1@3-1", tmp_path).labeled.tolist() == [6, 7, 8]
    assert load("stl.1@6-1", tmp_path).labeled_counts == [2, 2, 2]
    long_tailed = load("stl_LT_3.1@3-1", tmp_path)
    assert long_tailed.labeled_counts == [3, 2, 1] and long_tailed.labeled.max() < 60
    with pytest.raises(UserError, match="no fold 2.*0 to 1"):
        load("stl.2@3-1", tmp_path)


def test_data_that_are_not_prepared_say_what_to_run(tmp_path):
    with pytest.raises(UserError, match="python -m cissl.datasets prepare cifar10 ") as caught:
        load("cifar10.1@40-1", tmp_path)
    assert str(tmp_path) in str(caught.value) and caught.value.key == "dataset"


def test_an_unknown_name_is_answered_with_the_nearest(prepared):
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        load("cifar.1@40-1", prepared)
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        load("tinny.1@40-1", prepared)


def test_a_split_that_the_data_cannot_fill_names_spec_and_class(prepared):
    with pytest.raises(UserError, match=r"tiny_LT_2.1@21-1: class 'class 0' has 20 images, .* wants 21"):
        load("tiny_LT_2.1@21-1", prepared)


def _with_meta(folder, **changes):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, **changes}))


def _with_a_label(path, label):
    labels = np.load(path)
    labels[0] = label
    np.save(path, labels)


NPY_WITHOUT_END = (
    b"\x93NUMPY\x01\x00\x40\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,".ljust(63) + b"\n"
)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "test_labels.npy").unlink(),
        lambda folder: (folder / "train_images.npy").write_bytes(b"\x93NUMPY"),
        lambda folder: (folder / "train_images.npy").write_bytes(NPY_WITHOUT_END),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "meta.json").write_text(json.dumps({})),
        lambda folder: (folder / "meta.json").write_text("[]"),
        lambda folder: (folder / "meta.json").write_bytes(b"\xff\xfe{"),
        lambda folder: (folder / "meta.json").write_text("[" * 100_000),
        lambda folder: _with_meta(folder, files={}),
        lambda folder: _with_meta(folder, files={"train_images.npy": 3}),
        lambda folder: _with_meta(folder, class_names=3),
        lambda folder: np.save(folder / "test_images.npy", np.zeros((3, 8, 8, 1), np.uint8)),
        lambda folder: np.save(folder / "test_labels.npy", np.zeros(3)),
        lambda folder: (folder / "train_labels.npy").write_bytes(b""),
        lambda folder: _with_a_label(folder / "train_labels.npy", 2**60),
        lambda folder: _with_a_label(folder / "test_labels.npy", -2),
    ],
)
def test_damaged_folders_are_refused_with_the_mend(prepared, damage):
    damage(prepared / "tiny")
    with pytest.raises(UserError, match="delete that folder and prepare 'tiny' again"):
        load("tiny.1@6-3", prepared)


@pytest.mark.parametrize(
    "name, labeled, unlabeled",
    [
        ("tiny_LT_4_ULT_4.1@8-1", [8, 4, 2], [19, 10, 5]),
        ("tiny_LT_4_UREV_4.1@8+12-1", [8, 4, 2], [3, 6, 11]),
        ("tiny_N1_6.1@10-2", [6, 3, 1], [19, 19, 20]),
        ("tiny_N1_6_DISJOINT.1@10-2", [6, 3, 1], [14, 16, 18]),
        ("tiny_RAND.1@10-1", [3, 6, 1], [19, 20, 20]),
    ],
)
def test_protocols_have_their_class_counts(prepared, name, labeled, unlabeled):
    data = load(name, prepared)
    assert (data.labeled_counts, data.unlabeled_counts) == (labeled, unlabeled)
    if data.spec.disjoint:
        assert not set(data.labeled) & {*data.unlabeled, *data.valid}


def written(folder, images, sizes):
    """A data directory with so many training images of each class of ``images``, and those without a class."""
    labels = images.train_labels
    kept = np.sort(np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in [*enumerate(sizes), (-1, None)]]))
    (folder / "tiny").mkdir()
    writing.write(
        folder / "tiny", replace(images, train_images=images.train_images[kept], train_labels=labels[kept]), {}
    )
    return folder


@pytest.fixture
def uneven(tmp_path):
    """Training images of three classes, 4, 20 and 9 of them, and 5 without a class."""
    return written(tmp_path, tiny(unknown=5), [4, 20, 9])


@pytest.mark.parametrize(
    "name, labeled, valid, unlabeled",
    [
        ("tiny.1@all-2", [4, 20, 9], [0, 1, 1], 36),  # validation images are labeled too, as elsewhere
        ("tiny_HELDOUT.1@all-6", [3, 17, 7], [1, 3, 2], 32),
        ("tiny_HELDOUT.1@all-30", [1, 1, 1], [3, 19, 8], 8),  # each class keeps a label
        ("tiny_DISJOINT.1@all-6", [3, 17, 7], [1, 3, 2], 5),
        ("tiny_LT_5.1@all-1", [4, 2, 1], [0, 1, 0], 37),
        ("tiny_LT_5_BYSIZE.1@all-1", [4, 20, 9], [0, 1, 0], 37),
        ("tiny_LT_5_BYSIZE_HELDOUT.1@all-6", [3, 15, 7], [1, 3, 2], 32),
        ("tiny_RAND.1@all-1", [4, 7, 1], [0, 1, 0], 37),
    ],
)
def test_all_labels_are_as_many_as_the_data_can_give(uneven, name, labeled, valid, unlabeled):
    data = load(name, uneven)
    assert data.labeled_counts == labeled
    assert np.bincount(data.labels[data.valid], minlength=3).tolist() == valid
    assert len(data.unlabeled) == unlabeled
    if "HELDOUT" in name or "DISJOINT" in name:
        assert not set(data.labeled) & set(data.valid)


def test_with_all_labels_the_seed_draws_nothing(uneven):
    assert load("tiny_HELDOUT.1@all-6", uneven).split_hash == load("tiny_HELDOUT.2@all-6", uneven).split_hash


def test_all_labels_leave_an_unlabeled_image_to_train_on(prepared):
    with pytest.raises(UserError, match="6 validation images are more than the 5 .* must be left to train on"):
        load("tiny_DISJOINT.1@all-6", prepared)
    with pytest.raises(UserError, match="58 validation images are more than the 57 .* one of each class is labeled"):
        load("tiny_HELDOUT.1@all-58", prepared)


def test_a_long_tail_begins_with_the_largest_class_where_it_goes_by_size(uneven):
    data = load("tiny_LT_4_BYSIZE.1@8-1", uneven)
    assert data.labeled_counts == [2, 8, 4]
    assert load("tiny_N1_6_BYSIZE.1@10-1", uneven).labeled_counts == [1, 6, 3]
    with pytest.raises(UserError, match="class 'class 0' has 4 images, but the split wants 5 labeled ones"):
        load("tiny_LT_4_BYSIZE.1@17-1", uneven)


def test_unlabeled_images_go_by_size_too(tmp_path):
    written(tmp_path, tiny(), [8, 20, 12])
    assert load("tiny_ULT_4_BYSIZE.1@3+16-1", tmp_path).unlabeled_counts == [4, 15, 8]
    assert load("tiny_UREV_4_BYSIZE.1@3+8-1", tmp_path).unlabeled_counts == [7, 2, 4]


def test_classes_of_one_size_keep_their_order(prepared):
    by_index, by_size = (load(f"tiny_LT_4_UREV_4{order}_DISJOINT.3@8-2", prepared) for order in ("", "_BYSIZE"))
    assert by_index.split_hash == by_size.split_hash
