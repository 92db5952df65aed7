"""Arrays of one's own in an .npz file."""

import io
import zipfile

import numpy as np
import pytest

from cissl.datasets import load, prepare, store
from cissl.datasets.sources.image_files import Reading
from cissl.errors import UserError
from tests.datasets.synthetic_archives import Folder


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def imported(path, data_dir) -> store.Images:
    prepare.import_images("mine", path, data_dir)
    return store.open_images("mine", data_dir)


def refusal(path, data_dir) -> str:
    with pytest.raises(UserError) as caught:
        imported(path, data_dir)
    assert {path.name for path in data_dir.iterdir()} <= {".mine.lock"}
    return str(caught.value)


IMAGES = np.zeros((12, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_images": None}, "has no array 'train_images'; it has class_names"),
        ({"train_images": IMAGES / 255}, r"train_images .* is float64 .* wanted is uint8 .* values from 0 to 255"),
        ({"train_images": IMAGES.transpose(0, 3, 1, 2)}, r"channels last, train_images.transpose\(0, 2, 3, 1\)"),
        ({"train_images": IMAGES.reshape(12, -1)}, r"uint8 of shape \(12, 192\); wanted is uint8 of shape \(N, H, W\)"),
        ({"train_images": IMAGES[..., :2]}, r"several .*: train_images \(8, 8, 2\), test_images \(8, 8, 3\)"),
        ({"train_images": IMAGES[:, :, :7], "test_images": IMAGES[:6, :, :7]}, "height 8, width 7"),
        ({"train_images": IMAGES[:, :7, :7], "test_images": IMAGES[:6, :7, :7]}, "at least 8 pixels"),
        ({"train_images": IMAGES.repeat(2, 3)[..., :4], "test_images": IMAGES.repeat(2, 3)[:6, ..., :4]}, "4 channels"),
        ({"unlabeled_images": IMAGES[:5, :, :, 0]}, r"train_images \(8, 8, 3\), .*unlabeled_images \(8, 8, 1\)"),
        ({"unlabeled_images": IMAGES[:5, :6, :6]}, r"train_images \(8, 8, 3\), .*unlabeled_images \(6, 6, 3\)"),
        ({"train_images": IMAGES[:0], "train_labels": np.arange(0)}, "there are 0 training images"),
        ({"train_labels": np.arange(12)}, "label of training image 3 is 3, but the 3 classes are 0 to 2"),
        ({"train_labels": np.full(12, -2)}, "label of training image 0 is -2"),
        ({"train_labels": np.array([4294967295] * 12)}, "the label 4294967295; labels count the classes from 0"),
        ({"train_labels": np.array([2**64 - 1] * 12, np.uint64)}, "the label 18446744073709551615"),
        ({"test_labels": np.array([0, 1, 2, 0, -1, 2])}, "label of test image 4 is -1"),
        ({"test_labels": np.array([0, 1, 0, 0, 1, 0])}, "class 'cat' has no test image"),
        ({"train_labels": np.zeros(12, int)}, "classes 'bee', 'cat' have no training image"),
        ({"train_labels": np.arange(12) % 2 * 2, "class_names": None}, "class '1' has no training image"),
        ({"train_labels": np.arange(12) % 3 + 1, "test_labels": np.arange(6) % 3 + 1}, "no label 0.*subtract 1 from"),
        ({"train_labels": np.arange(12) % 3 + 1, "class_names": None}, "no label 0: .*subtract 1 from"),
        ({"train_labels": np.zeros(11, int)}, "12 train_images, but 11 train_labels"),
        ({"train_labels": np.zeros(11, int), "unlabeled_images": IMAGES[:1]}, "12 train_images, but 11 train_labels"),
        ({"test_labels": np.zeros(5, int)}, "6 test images, but 5 test labels"),
        ({"train_labels": np.zeros(12)}, "train_labels .* is float64 .*; wanted are integers"),
        ({"train_labels": np.array(["ant"] * 12)}, r"train_labels .* is <U3 of .*; wanted are integers"),
        ({"train_labels": np.zeros(12, bool)}, "train_labels .* is bool"),
        (
            {"train_labels": np.eye(3, dtype=int)[np.arange(12) % 3]},
            r"if these are one-hot, train_labels.argmax\(axis=1\)",
        ),
        ({"train_labels": np.zeros((12, 1, 1), int)}, r"of shape \(12, 1, 1\); wanted are integers of shape \(N,\)"),
        ({"class_names": np.array(["a", "b", "a"])}, "classes of different names"),
        (
            {"class_names": np.array(["a", "b", None])},
            "class_names of .* cannot be read .*np.array\\(names, dtype=str\\)",
        ),
        ({"class_names": np.array("ant")}, r"class_names .* is <U3 of shape \(\); wanted is one text for each class"),
        ({"class_names": np.array([["a", "b"], ["c", "d"]])}, "wanted is one text for each class"),
        ({"class_names": np.array([0.5, 1, 2])}, "class_names .* is float64"),
        ({"class_names": np.array(["a", "", "c"])}, "'' in .* cannot be the name of a class"),
        ({"class_names": np.array(["a", "b\n", "c\td"])}, r"'c\\td' in .* cannot be the name of a class"),
        ({"class_names": np.array([b"ant", b"b\xe9e", b"cat"])}, r"b'b\\xe9e', which is not UTF-8"),
        ({"train_labels": np.array([None] * 12)}, "train_labels of .* cannot be read"),
    ],
)
def test_unfit_arrays_are_refused_by_name(changes, message, tmp_path, data_dir):
    refused = refusal(Folder().write_npz(tmp_path / "mine.npz", **changes), data_dir)
    with pytest.raises(UserError, match=message):
        raise UserError(refused)


@pytest.mark.parametrize(
    "names",
    [np.array([b"ant", b"bee", b"cat"]), np.array(["ant ", "bee ", "cat "]), np.array([["ant"], ["bee"], ["cat"]])],
)
def test_names_as_other_programs_write_them_are_read(names, tmp_path, data_dir):
    assert imported(Folder().write_npz(tmp_path / "mine.npz", class_names=names), data_dir).class_names == Folder.names


def test_other_arrays_are_left_out_aloud_even_if_they_cannot_be_read(tmp_path, data_dir):
    path = Folder().write_npz(tmp_path / "mine.NPZ", filenames=np.array(["a.png", None]), val_images=IMAGES)
    images = imported(path.with_name("mine.NPZ.npz"), data_dir)
    assert images.remarks == ("left out of the file: filenames, val_images (arrays of other names)",)


def test_training_labels_of_minus_one_are_unlabeled_images(tmp_path, data_dir):
    labels = np.where(np.arange(12) > 8, -1, np.arange(12) % 3)
    imported(Folder().write_npz(tmp_path / "mine.npz", train_labels=labels), data_dir)
    data = load("mine.1@3-1", data_dir)
    assert np.count_nonzero(data.labels[data.unlabeled] < 0) == 3


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [">i8", "<u1", "i2"])
def test_any_order_of_bytes_and_axes_is_read(order, kind, tmp_path, data_dir):
    folder = Folder()
    path = folder.write_npz(
        tmp_path / "mine.npz",
        train_images=np.asarray(folder.train, order=order),
        train_labels=folder.train_labels.astype(kind),
    )
    images = imported(path, data_dir)
    np.testing.assert_array_equal(images.train_images, folder.train)
    np.testing.assert_array_equal(images.train_labels, folder.train_labels)


@pytest.mark.parametrize("keep", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(keep, tmp_path, data_dir):
    path = Folder().write_npz(tmp_path / "mine.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert "mine.npz is damaged" in refusal(path, data_dir)


def test_a_changed_array_is_refused_by_name(tmp_path, data_dir):
    path = Folder().write_npz(tmp_path / "mine.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 8] ^= 1
    path.write_bytes(content)
    assert "train_images of" in refusal(path, data_dir) and "cannot be read" in refusal(path, data_dir)


def test_files_that_only_look_like_one_are_refused(tmp_path, data_dir):
    path = tmp_path / "mine.npz"
    np.save(tmp_path / "one.npy", IMAGES)
    (tmp_path / "one.npy").rename(path)
    assert "has one array only" in refusal(path, data_dir)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images", "no array")
    assert "train_images of" in refusal(path, data_dir)
    buffer = io.BytesIO()
    np.save(buffer, IMAGES)
    path.write_bytes(buffer.getvalue()[:50])
    assert "is damaged or no .npz file" in refusal(path, data_dir)
    assert "there is no file" in refusal(tmp_path / "nowhere.npz", data_dir)


def test_arrays_are_not_resized(tmp_path, data_dir):
    path = Folder().write_npz(tmp_path / "mine.npz")
    with pytest.raises(UserError, match="are taken as they are; --side"):
        prepare.import_images("mine", path, data_dir, reading=Reading(side=16))
