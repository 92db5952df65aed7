"""Class counts, overlap and pictures of a split; the command line."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cissl.datasets import inspection, load, prepare, store, writing
from cissl.datasets.__main__ import main
from cissl.errors import UserError
from tests.datasets.synthetic_archives import Folder, Stl10, Svhn, written


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A data directory that has 'mine', with one training image again in its test set."""
    images = Folder(unlabeled=4)
    images.test[5] = images.train[2]
    prepare.import_images("mine", images.write(tmp_path / "mine"), tmp_path / "data")
    monkeypatch.setenv("ML_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_counts_include_the_unknown(data_dir):
    counts = inspection.part_counts(load("mine.0@6-3"))
    assert {part: column.tolist() for part, column in counts.items()} == {
        "labeled": [2, 2, 2, 0],
        "unlabeled": [3, 3, 3, 4],
        "validation": [1, 1, 1, 0],
        "test": [2, 2, 2, 0],
    }


def test_overlap_is_by_content(data_dir):
    """Unshuffled, image 2 is neither labeled nor among the 3 validation images, but in the test set too."""
    data = load("mine.0@6-3")
    assert data.labeled.tolist() == [0, 1, 4, 5, 8, 9] and data.valid.tolist() == [0, 4, 8]
    assert inspection.overlap(data).tolist() == [[6, 3, 3, 0], [3, 13, 0, 1], [3, 0, 3, 0], [0, 1, 0, 6]]
    disjoint = load("mine_DISJOINT.0@6-3")
    assert inspection.overlap(disjoint)[0].tolist() == [6, 0, 0, 0]


def test_inspect_prints_counts_hash_and_overlap(data_dir, capsys):
    assert main(["inspect", "mine_LT_2.1@3-1"]) == 0
    printed = capsys.readouterr().out
    assert load("mine_LT_2.1@3-1").split_hash in printed
    assert "3 classes, 8×8 pixels, 3 channels; weak augmentation mirror + shift 1" in printed
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line}
    assert rows["ant"] == ["3", "3", "1", "2"] and rows["(unknown)"] == ["0", "4", "0", "0"]
    assert rows["total"] == ["8", "15", "1", "6"]
    assert rows["test"] == ["1", "1", "0", "6"]  # shuffled by seed 1, image 2 is labeled


def test_inspect_draws(data_dir, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    for name in ("mine.1@6-1", "digits_LT_20.1@20-10"):
        assert main(["inspect", name, "--plot", str(tmp_path / "plot.png")]) == 0
        with Image.open(tmp_path / "plot.png") as image:
            assert min(image.size) > 300 and len(np.unique(np.asarray(image))) > 20


@pytest.mark.parametrize(
    "place, words", [("nowhere/plot.png", "nowhere/plot.png: No such file"), ("plot.1@40-1", "is not supported")]
)
def test_a_figure_that_cannot_be_written_is_told(data_dir, tmp_path, capsys, place, words):
    pytest.importorskip("matplotlib")
    assert main(["inspect", "mine.1@6-1", "--plot", str(tmp_path / place)]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_that_there_cannot_be_is_told(monkeypatch, capsys):
    monkeypatch.setenv("ML_DATA", "x" * 300)
    assert main(["list"]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_drawing_without_matplotlib_says_what_to_install(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["inspect", "mine.1@6-1", "--plot", str(tmp_path / "plot.png")]) == 2
    assert 'pip install -c constraints.txt -e ".[analysis]"' in capsys.readouterr().err


def test_list_shows_what_is_there(data_dir, capsys):
    shutil.copytree(data_dir / "mine", data_dir / "svhn")  # as an earlier version could import it
    shutil.copytree(data_dir / "mine", data_dir / "sick")
    (data_dir / "sick" / "train_images.npy").write_bytes(b"")
    assert main(["list"]) == 0
    states = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "not prepared" in states["cifar10"] and "embedded" in states["digits"]
    assert "prepared" in states["svhn"] and "6 test images (not the official numbers)" in states["svhn"]
    assert states["sick"].endswith("prepare 'sick' again")
    assert "imported" in states["mine"] and "12 + 4 unlabeled training and 6 test images" in states["mine"]


def test_prepare_import_inspect_and_verify_by_command(tmp_path, capsys):
    data_dir = ["--data-dir", str(tmp_path / "data")]
    source = written(Svhn(), "matlab", tmp_path / "svhn")
    assert main(["prepare", "svhn", "--from", str(source), "--unofficial", *data_dir]) == 0
    assert main(["prepare", "svhn", "digits", *data_dir]) == 0
    assert "'svhn' is there already" in capsys.readouterr().out
    path = Folder(channels=1).write_npz(tmp_path / "mine.npz")
    assert main(["import", "mine", str(path), "--weak", "s", "--shift", "3", *data_dir]) == 0
    assert main(["import", "still", str(path), "--weak", "none", *data_dir]) == 0
    assert main(["verify", "svhn", "mine", "digits", *data_dir]) == 0
    assert "'mine' is unchanged" in capsys.readouterr().out
    mine, still = (load(f"{name}.1@3-1", tmp_path / "data") for name in ("mine", "still"))
    assert (mine.mirror, mine.shift, still.mirror, still.shift) == (False, 3, False, 0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["prepare", "cifar"], "did you mean 'cifar10'"),
        (["prepare", "cifar10", "svhn", "--from", "x"], "--from is the source of one data set"),
        (["prepare", "cifar10", "--from", "/nowhere"], "no file or folder /nowhere"),
        (["inspect", "mime.1@6-1"], "did you mean 'mine'"),
        (["inspect", "mine.1@100-1"], "12 images, but the split wants 100 labeled ones; 12 is the largest"),
        (["inspect", "mine"], "is not the name of a split"),
        (["verify", "miine"], "not prepared in .*; did you mean 'mine'"),
        (["import", "mine", "/nowhere"], "there is a data set 'mine'"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(arguments, message, data_dir, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    with pytest.raises(UserError, match=message):
        raise UserError(printed.err)


def test_the_command_runs_as_a_module(data_dir):
    run = subprocess.run(
        [sys.executable, "-m", "cissl.datasets", "inspect", "mine.1@6-1"], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0 and "split hash" in run.stdout and run.stderr == ""


# The protocols, with the class counts that `inspect` prints


@pytest.fixture(scope="module")
def like_cifar(tmp_path_factory):
    """Data sets with the class sizes of CIFAR-10 and CIFAR-100, and next to no pixels."""
    data_dir = tmp_path_factory.mktemp("like_cifar")
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        labels = np.tile(np.arange(classes), 50_000 // classes)
        images = np.zeros((50_000, 8, 8, 1), dtype=np.uint8)
        (data_dir / name).mkdir()
        writing.write(
            data_dir / name,
            store.SourceImages(
                class_names=[str(k) for k in range(classes)],
                train_images=images,
                train_labels=labels,
                test_images=images[:classes],
                test_labels=labels[:classes],
            ),
            {},
        )
    return data_dir


def beginning_with(first, of, rest):
    return [first, *[rest] * (of - 1)]


@pytest.mark.parametrize(
    "name, labeled, unlabeled",
    [
        ("cifar10.1@40-1", [4] * 10, beginning_with(4999, 10, 5000)),
        ("cifar10.1@4000-5000", [400] * 10, [4500] * 10),
        ("cifar10_LT_20.1@20-1", [20, 15, 11, 8, 6, 4, 3, 2, 2, 1], beginning_with(4999, 10, 5000)),
        (
            "cifar10_LT_100_ULT_100.1@500-1",
            [500, 300, 180, 108, 65, 39, 24, 14, 9, 5],
            [4999, 2998, 1797, 1078, 646, 388, 233, 140, 84, 50],
        ),
        (
            "cifar10_LT_100_ULT_50_DISJOINT.1@1500+3000-1",
            [1500, 900, 540, 324, 194, 117, 70, 42, 26, 15],
            [2999, 1943, 1258, 815, 528, 342, 222, 144, 93, 60],
        ),
        (
            "cifar10_LT_100_UREV_100_DISJOINT.1@1500+3000-1",
            [1500, 900, 540, 324, 194, 117, 70, 42, 26, 15],
            [30, 51, 84, 140, 233, 388, 647, 1079, 1799, 2999],
        ),
        (
            "cifar10_LT_150_UMID_150_DISJOINT.1@500+4000-1",
            [500, 287, 165, 95, 54, 31, 18, 11, 6, 4],
            [46, 141, 431, 1313, 3999, 2292, 752, 247, 81, 26],
        ),
        (
            "cifar10_LT_100_UHT_100_DISJOINT.1@500+4000-1",
            [500, 300, 180, 108, 65, 39, 24, 14, 9, 5],
            [2397, 861, 309, 111, 40, 66, 185, 516, 1437, 3999],
        ),
        ("cifar10_N1_10.1@40-1", [10, 8, 6, 5, 3, 3, 2, 1, 1, 1], beginning_with(4999, 10, 5000)),
        ("cifar10_N1_20.1@40-1", [20, 9, 4, 1, 1, 1, 1, 1, 1, 1], beginning_with(4999, 10, 5000)),
        (
            "cifar10_N1_40_UREV_10.1@100-1",
            [40, 24, 14, 9, 5, 3, 2, 1, 1, 1],
            [501, 646, 835, 1078, 1392, 1797, 2321, 2998, 3872, 4999],
        ),
        ("cifar10_RAND.1@250-1", [33, 57, 1, 24, 12, 8, 15, 27, 31, 42], beginning_with(4999, 10, 5000)),
        ("cifar10_DISJOINT.1@40-1", [4] * 10, beginning_with(4995, 10, 4996)),
        ("cifar100_LT_50.1@50-1", [50, 49, 47, 45, 43, 42, 40, 38, 37, 36], beginning_with(499, 100, 500)),
    ],
)
def test_protocols_have_the_class_counts_of_the_literature(name, labeled, unlabeled, like_cifar):
    data = load(name, like_cifar)
    counts = inspection.part_counts(data)
    assert counts["labeled"][:10].tolist() == labeled
    assert counts["unlabeled"][:-1].tolist() == unlabeled
    assert sum(counts["validation"]) == data.spec.valid


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(
        [
            "digits",
            "digits_LT_10",
            "digits_RAND",
            "digits_N1_9",
            "digits_LT_10_ULT_3",
            "digits_UREV_5",
            "digits_UMID_5",
            "digits_LT_5_UHT_5_DISJOINT",
            "digits_DISJOINT",
            "digits_LT_5_ULT_5_DISJOINT",
        ]
    ),
    seed=st.integers(0, 5),
    size=st.integers(30, 60),
    valid=st.integers(1, 40),
)
def test_every_split_is_sound(name, seed, size, valid):
    text = f"{name}.{seed}@{size}-{valid}"
    data = load(text)
    assert data.split_hash == load(text).split_hash
    for indices in (data.labeled, data.unlabeled, data.valid):
        assert len(np.unique(indices)) == len(indices) and set(indices) <= set(range(len(data.labels)))
    assert len(data.valid) == valid and not set(data.valid) & set(data.unlabeled)
    assert sum(data.labeled_counts) == len(data.labeled) >= size and data.labels[data.labeled].min() >= 0
    if data.spec.imbalance_ratio:
        assert max(data.labeled_counts) == size
    if data.spec.disjoint:
        assert not set(data.labeled) & {*data.unlabeled, *data.valid}
    if seed:
        assert data.split_hash != load(f"{name}.{seed + 1}@{size}-{valid}").split_hash


def test_stl10_cannot_be_made_long_tailed_unlabeled(tmp_path):
    prepare.prepare("stl10", tmp_path, source=written(Stl10(), "binary", tmp_path / "stl"), unofficial=True)
    with pytest.raises(UserError, match="the class of 30 of them is unknown"):
        load("stl10_ULT_2.1@20-1", tmp_path)
