"""Preparing and importing: every source and edition, what is refused, and that nothing is left behind."""

import hashlib
import multiprocessing
import os
import pickle
import shutil
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from cissl.datasets import catalog, load, prepare, store, writing
from cissl.datasets.sources import archives
from cissl.errors import UserError
from tests.datasets.synthetic_archives import (
    Cifar,
    Cifar100,
    Folder,
    MiniImageNet,
    Stl10,
    Svhn,
    random_images,
    save_png,
    tar_of,
    tar_with,
    written,
)

EDITIONS = [
    ("cifar10", Cifar, "python"),
    ("cifar10", Cifar, "binary"),
    ("cifar10", Cifar, "matlab"),
    ("cifar100", Cifar100, "python"),
    ("cifar100", Cifar100, "binary"),
    ("cifar100", Cifar100, "matlab"),
    ("stl10", Stl10, "binary"),
    ("stl10", Stl10, "matlab"),
    ("svhn", Svhn, "matlab"),
    ("miniimagenet", MiniImageNet, "caches"),
    ("miniimagenet", MiniImageNet, "category_splits"),
    ("miniimagenet", MiniImageNet, "csv_splits"),
    ("miniimagenet", MiniImageNet, "class_folders"),
    ("miniimagenet", MiniImageNet, "split_folders"),
]


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def assert_holds(images: store.Images, expected):
    np.testing.assert_array_equal(images.train_images, expected.train)
    np.testing.assert_array_equal(images.train_labels, expected.train_labels)
    np.testing.assert_array_equal(images.test_images, expected.test)
    np.testing.assert_array_equal(images.test_labels, expected.test_labels)
    assert images.class_names == expected.names
    assert images.train_images.dtype == np.uint8 and images.train_labels.dtype == np.int64


def assert_nothing_left(data_dir, name):
    assert not store.is_prepared(name, data_dir)
    assert [path.name for path in data_dir.glob("*") if not path.name.endswith(".lock")] == []
    assert [path.name for path in data_dir.glob(".*") if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize("name, make, edition", EDITIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_edition_gives_the_same_images(name, make, edition, tmp_path, data_dir):
    if (make, edition) == (Stl10, "matlab"):
        pytest.importorskip("h5py")
    data = make()
    source = written(data, edition, tmp_path / getattr(data, "folder", {}).get(edition, "source"))
    assert prepare.prepare(name, data_dir, source=source, unofficial=True)
    assert_holds(store.open_images(name, data_dir), data)
    known = catalog.KNOWN[name]
    meta = store.read_meta(name, data_dir)
    assert (meta["mirror"], meta["shift"], meta["title"]) == (known.mirror, known.shift, known.title)
    assert load(f"{name}.0@{len(data.names)}-1", data_dir).classes == len(data.names)


@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_archives_are_read_like_folders(pack, tmp_path, data_dir):
    data = Cifar()
    folder = written(data, "python", tmp_path / "cifar-10-batches-py")
    if pack == "tar":
        archive = tar_of(folder, tmp_path / "mine.tar.gz")
    else:
        archive = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path, folder.name)
    prepare.prepare("cifar10", data_dir, source=tmp_path / os.path.basename(archive), unofficial=True)
    assert_holds(store.open_images("cifar10", data_dir), data)
    assert [path.name for path in data_dir.iterdir()] in (["cifar10", ".cifar10.lock"], [".cifar10.lock", "cifar10"])


def test_stl10_keeps_its_folds_and_unlabeled_images(tmp_path, data_dir):
    data = Stl10()
    prepare.prepare("stl10", data_dir, source=written(data, "binary", tmp_path / "stl10_binary"), unofficial=True)
    fold = load("stl10.3@20-1", data_dir)
    np.testing.assert_array_equal(fold.labeled, np.sort(data.folds[3]))
    assert len(fold.unlabeled) == 40 + 30 - 1 and sum(fold.unlabeled_counts) == 40 - 1
    long_tailed = load("stl10_LT_2.1@2-1", data_dir)
    assert long_tailed.labeled.max() < 40 and long_tailed.labeled_counts[0] == 2


def test_mini_imagenet_images_of_other_sizes_are_resized(tmp_path, data_dir):
    data = MiniImageNet()
    source = written(data, "class_folders", tmp_path / "images")
    save_png(np.full((120, 90, 3), 200, dtype=np.uint8), source / "n00" / "00000000.png")
    prepare.prepare("miniimagenet", data_dir, source=source, unofficial=True)
    assert (store.open_images("miniimagenet", data_dir).train_images[0] == 200).all()


def test_mini_imagenet_lists_as_excel_saves_them_are_read(tmp_path, data_dir):
    data = MiniImageNet()
    source = written(data, "csv_splits", tmp_path / "source")
    for file in source.glob("*.csv"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    prepare.prepare("miniimagenet", data_dir, source=source, unofficial=True)
    assert_holds(store.open_images("miniimagenet", data_dir), data)


def test_mini_imagenet_in_folders_within_folders_is_read_aloud(tmp_path, data_dir):
    data = MiniImageNet()
    source = written(data, "class_folders", tmp_path / "source" / "a" / "b")
    (source / "n00" / "boxes.txt").write_text("0 0 64 64")
    (source / "n00" / "images").mkdir()
    for path in source.glob("n00/*.png"):
        path.rename(source / "n00" / "images" / path.name)
    prepare.prepare("miniimagenet", data_dir, source=tmp_path / "source", unofficial=True)
    images = store.open_images("miniimagenet", data_dir)
    assert_holds(images, data)
    assert images.remarks == ("left out of a/b/n00/: boxes.txt (no image)",)


def test_mini_imagenet_of_more_than_8_bits_is_refused_with_all_its_files(tmp_path, data_dir):
    source = written(MiniImageNet(), "class_folders", tmp_path / "images")
    for i in (0, 5):  # a training and a test image
        Image.fromarray(np.zeros((84, 84), np.uint16)).save(source / "n00" / f"{i:08}.png")
    with pytest.raises(UserError, match="2 images cannot be taken; convert what has more than 8 bits"):
        prepare.prepare("miniimagenet", data_dir, source=source, unofficial=True)
    assert_nothing_left(data_dir, "miniimagenet")


@pytest.mark.parametrize(
    "edition, file, content",
    [
        ("csv_splits", "val.csv", b"filename,label\n\xe9.png,n00\n"),
        ("csv_splits", "val.csv", b"filename,label\na.png\n"),
        ("csv_splits", "val.csv", b""),
        ("category_splits", "miniImageNet_category_split_val.pickle", pickle.dumps({"data": 3, "labels": 4})),
        ("caches", "mini-imagenet-cache-val.pkl", pickle.dumps({"image_data": None, "class_dict": None})),
    ],
)
def test_mini_imagenet_of_another_content_is_refused(edition, file, content, tmp_path, data_dir):
    source = written(MiniImageNet(), edition, tmp_path / "source")
    (source / file).write_bytes(content)
    with pytest.raises(UserError, match=str(source)):
        prepare.prepare("miniimagenet", data_dir, source=source, unofficial=True)
    assert_nothing_left(data_dir, "miniimagenet")


def test_preparing_again_does_nothing(tmp_path, data_dir):
    source = written(Cifar(), "binary", tmp_path / "source")
    assert prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    before = (data_dir / "cifar10" / "meta.json").stat().st_mtime_ns
    assert not prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    assert not prepare.prepare("digits", data_dir)
    assert (data_dir / "cifar10" / "meta.json").stat().st_mtime_ns == before


def test_meta_has_the_hash_of_every_file(tmp_path, data_dir):
    prepare.prepare("svhn", data_dir, source=written(Svhn(), "matlab", tmp_path / "svhn"), unofficial=True)
    files = store.read_meta("svhn", data_dir)["files"]
    assert sorted(files) == ["test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy"]
    for name, described in files.items():
        content = (data_dir / "svhn" / name).read_bytes()
        assert described["sha256"] == hashlib.sha256(content).hexdigest()
        assert described["shape"] == list(np.load(data_dir / "svhn" / name).shape)


def test_verify_finds_a_changed_and_a_missing_file(tmp_path, data_dir):
    prepare.prepare("svhn", data_dir, source=written(Svhn(), "matlab", tmp_path / "svhn"), unofficial=True)
    assert len(writing.verify("svhn", data_dir)) == 4
    images = np.load(data_dir / "svhn" / "test_images.npy", mmap_mode="r+")
    images[3, 3, 3] ^= 1
    images.flush()
    with pytest.raises(UserError, match="test_images.npy has changed .* prepare 'svhn' again"):
        writing.verify("svhn", data_dir)
    (data_dir / "svhn" / "test_images.npy").unlink()
    with pytest.raises(UserError, match="test_images.npy is missing"):
        writing.verify("svhn", data_dir)


# Downloads


def test_published_addresses_and_checksums_are_torchvisions():
    from torchvision.datasets import CIFAR10, CIFAR100, STL10, SVHN

    for name, known in (("cifar10", CIFAR10), ("cifar100", CIFAR100), ("stl10", STL10)):
        assert catalog.KNOWN[name].downloads == (known.url,)
        assert catalog.OFFICIAL_MD5[known.filename] == known.tgz_md5
    for part, url in zip(("train", "test"), catalog.KNOWN["svhn"].downloads, strict=True):
        assert (url, catalog.OFFICIAL_MD5[f"{part}_32x32.mat"]) == (SVHN.split_list[part][0], SVHN.split_list[part][2])


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def tiny_official(monkeypatch, tmp_path):
    """Pretend that the official CIFAR-10 is a tiny archive on a server of this machine."""
    archive = tar_of(written(Cifar(), "python", tmp_path / "cifar-10-batches-py"), tmp_path / "cifar-10-python.tar.gz")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    tiny = replace(catalog.KNOWN["cifar10"], train=50, test=10, downloads=(url,))
    monkeypatch.setitem(catalog.KNOWN, "cifar10", tiny)
    monkeypatch.setitem(catalog.OFFICIAL_MD5, archive.name, hashlib.md5(archive.read_bytes()).hexdigest())
    yield archive
    server.shutdown()
    server.server_close()


def test_downloads_are_checked_prepared_and_removed(tiny_official, data_dir):
    assert prepare.prepare("cifar10", data_dir)
    assert_holds(store.open_images("cifar10", data_dir), Cifar())
    assert sorted(path.name for path in data_dir.iterdir()) == [".cifar10.lock", "cifar10"]


def test_a_failed_download_says_what_to_do(tiny_official, data_dir):
    tiny_official.unlink()
    with pytest.raises(UserError, match="cannot be downloaded .* --from cifar-10-python.tar.gz"):
        prepare.prepare("cifar10", data_dir)
    assert not store.is_prepared("cifar10", data_dir)


def test_a_download_with_a_wrong_checksum_is_refused(tiny_official, data_dir):
    tiny_official.write_bytes(tiny_official.read_bytes()[:-10])
    with pytest.raises(UserError, match="cannot be downloaded"):
        prepare.prepare("cifar10", data_dir)
    assert not store.is_prepared("cifar10", data_dir)


def test_what_has_no_download_is_asked_for(data_dir):
    with pytest.raises(UserError, match="mini-ImageNet has no public download; .* prepare miniimagenet --from PATH"):
        prepare.prepare("miniimagenet", data_dir)


# Sources that are not what they should be


def test_a_wrong_checksum_is_refused_unless_asked_otherwise(tmp_path, data_dir):
    archive = tar_of(written(Cifar(), "python", tmp_path / "py"), tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(UserError, match="MD5 checksum .* official cifar-10-python.tar.gz .* --unofficial"):
        prepare.prepare("cifar10", data_dir, source=archive)
    assert_nothing_left(data_dir, "cifar10")
    assert prepare.prepare("cifar10", data_dir, source=archive, unofficial=True)


def test_a_wrong_checksum_of_a_matlab_file_is_refused(tmp_path, data_dir):
    with pytest.raises(UserError, match="official t.*_32x32.mat has"):
        prepare.prepare("svhn", data_dir, source=written(Svhn(), "matlab", tmp_path / "svhn"))
    assert_nothing_left(data_dir, "svhn")


def test_another_number_of_images_is_refused_unless_asked_otherwise(tmp_path, data_dir):
    source = written(Cifar(), "binary", tmp_path / "bin")
    with pytest.raises(UserError, match="50000 training and 10000 test images, but the source has 10, 50 and 10"):
        prepare.prepare("cifar10", data_dir, source=source)
    assert_nothing_left(data_dir, "cifar10")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_archive_is_refused(keep, tmp_path, data_dir):
    archive = tar_of(written(Cifar(), "binary", tmp_path / "bin"), tmp_path / "mine.tar.gz")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match="mine.tar.gz is damaged or incomplete"):
        prepare.prepare("cifar10", data_dir, source=archive, unofficial=True)
    assert_nothing_left(data_dir, "cifar10")


def damage(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    "edition, file", [("python", "data_batch_3"), ("binary", "data_batch_3.bin"), ("matlab", "data_batch_3.mat")]
)
def test_truncated_files_are_named(edition, file, tmp_path, data_dir):
    source = written(Cifar(), edition, tmp_path / "source")
    damage(source / file, 5000)
    with pytest.raises(UserError, match=f"{file} is damaged"):
        prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    (source / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing"):
        prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    assert_nothing_left(data_dir, "cifar10")


def test_truncated_stl10_images_are_named(tmp_path, data_dir):
    source = written(Stl10(), "binary", tmp_path / "source")
    damage(source / "unlabeled_X.bin", 30_000)
    with pytest.raises(UserError, match="unlabeled_X.bin is damaged or incomplete: its 30000 bytes"):
        prepare.prepare("stl10", data_dir, source=source, unofficial=True)


def test_labels_out_of_range_are_named(tmp_path, data_dir):
    data = Cifar()
    data.train_labels = np.where(np.arange(50) == 17, 12, data.train_labels)
    with pytest.raises(UserError, match="label of training image 17 is 12, but the 10 classes are 0 to 9"):
        prepare.prepare("cifar10", data_dir, source=written(data, "binary", tmp_path / "source"), unofficial=True)
    assert_nothing_left(data_dir, "cifar10")


@pytest.mark.parametrize(
    "source, message",
    [
        ("nowhere", "there is no file or folder"),
        ("empty", "has no data_batch_1 and no data_batch_1.bin"),
        ("text.tar.gz", "is no folder, tar archive or zip archive"),
    ],
)
def test_other_sources_are_refused(source, message, tmp_path, data_dir):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(UserError, match=message):
        prepare.prepare("cifar10", data_dir, source=tmp_path / source, unofficial=True)
    assert_nothing_left(data_dir, "cifar10")


def test_unknown_names_are_answered_with_the_nearest(data_dir):
    with pytest.raises(UserError, match="did you mean 'cifar100'"):
        prepare.prepare("cifar_100", data_dir)


# Archives and pickles that mean harm


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("/outside"),
        tarfile.TarInfo("a/../../outside"),
        link("inside", "../outside", tarfile.SYMTYPE),
        link("inside", "/etc/passwd", tarfile.LNKTYPE),
        link("device", "", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.type.decode()}",
)
def test_tar_members_that_point_outside_are_refused(member, tmp_path, data_dir):
    archive = tar_with(tmp_path / "bad.tar.gz", member)
    with pytest.raises(UserError, match="it is not unpacked"):
        prepare.prepare("cifar10", data_dir, source=archive, unofficial=True)
    assert_nothing_left(data_dir, "cifar10")
    assert not (data_dir / "outside").exists() and not (tmp_path / "outside").exists()


def test_zip_members_that_point_outside_are_refused(tmp_path, data_dir):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(UserError, match="points outside"):
        prepare.prepare("cifar10", data_dir, source=tmp_path / "bad.zip", unofficial=True)
    assert_nothing_left(data_dir, "cifar10")


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_pickles_cannot_run_programs(tmp_path, data_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = written(Cifar(), "python", tmp_path / "source")
    (source / "data_batch_2").write_bytes(pickle.dumps({"data": Harm(), "labels": []}))
    with pytest.raises(UserError, match="data_batch_2: a pickle asks for .*mkdir"):
        prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    assert not (tmp_path / "harm").exists()
    assert_nothing_left(data_dir, "cifar10")


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_arrays_of_every_protocol_are_read(protocol, tmp_path):
    content = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "number": np.float64(2.5), "texts": ["é", "b"]}
    (tmp_path / "file").write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = archives.load_pickle(tmp_path / "file")
    np.testing.assert_array_equal(loaded["data"], content["data"])
    assert (loaded["number"], loaded["texts"]) == (2.5, ["é", "b"])


def test_pickles_of_python_2_are_read(tmp_path):
    """{'data': array([[1, 2]], dtype=uint8)} as Python 2 and NumPy 1.6 wrote it, byte strings included."""
    old = (
        b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85"
        b"U\x01b\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff"
        b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbs."
    )
    (tmp_path / "file").write_bytes(old)
    np.testing.assert_array_equal(archives.load_pickle(tmp_path / "file")["data"], [[1, 2]])


# The disk, interruption, and other processes


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, data_dir, monkeypatch):
    source = written(Cifar(), "binary", tmp_path / "source")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="GB are needed in .* 0.00 GB are free"):
        prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    with pytest.raises(UserError, match="0.37 GB are needed"):
        prepare.prepare("cifar10", data_dir, source=source)
    assert_nothing_left(data_dir, "cifar10")


@pytest.mark.parametrize(
    "failure, seen", [(OSError(28, "No space left on device"), UserError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_failure_while_writing_leaves_nothing(failure, seen, tmp_path, data_dir, monkeypatch):
    def fail(*arguments, **options):
        raise failure

    monkeypatch.setattr(writing.json, "dumps", fail)
    with pytest.raises(seen):
        prepare.prepare("cifar10", data_dir, source=written(Cifar(), "binary", tmp_path / "source"), unofficial=True)
    assert_nothing_left(data_dir, "cifar10")


def test_what_a_killed_preparation_left_behind_is_no_data_set_and_is_cleared(tmp_path, data_dir):
    left = data_dir / ".cifar10.partial" / "prepared"
    left.mkdir(parents=True)
    (left / "train_images.npy").write_bytes(b"half")
    assert store.prepared_names(data_dir) == []
    with pytest.raises(UserError, match="prepare cifar10"):
        load("cifar10.1@10-1", data_dir)
    prepare.prepare("cifar10", data_dir, source=written(Cifar(), "binary", tmp_path / "source"), unofficial=True)
    assert_holds(store.open_images("cifar10", data_dir), Cifar())
    assert not left.exists()


def prepare_and_die(data_dir, source):
    """Die as if killed, when the first array is written."""
    write_npy = writing._write_npy
    writing._write_npy = lambda *arguments: (write_npy(*arguments), os._exit(9))
    prepare.prepare("cifar10", data_dir, source=source, unofficial=True)


def test_a_killed_preparation_can_be_repeated(tmp_path, data_dir):
    source = written(Cifar(), "binary", tmp_path / "source")
    process = multiprocessing.get_context("fork").Process(target=prepare_and_die, args=(data_dir, source))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 9
    assert not store.is_prepared("cifar10", data_dir) and store.prepared_names(data_dir) == []
    assert prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    assert_holds(store.open_images("cifar10", data_dir), Cifar())


def prepare_slowly(data_dir, source, prepared):
    """Prepare in a process of its own, holding the lock for a while."""
    write = writing.write

    def slow_write(*arguments):
        time.sleep(0.5)
        write(*arguments)

    writing.write = slow_write
    prepared.put(prepare.prepare("cifar10", data_dir, source=source, unofficial=True))


def test_two_processes_at_once_prepare_one_data_set(tmp_path, data_dir):
    source = written(Cifar(), "python", tmp_path / "source")
    context = multiprocessing.get_context("fork")
    prepared = context.Queue()
    processes = [context.Process(target=prepare_slowly, args=(data_dir, source, prepared)) for _ in range(2)]
    for process in processes:
        process.start()
    outcomes = sorted(prepared.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert outcomes == [False, True]
    assert_holds(store.open_images("cifar10", data_dir), Cifar())
    assert writing.verify("cifar10", data_dir)


# Images of one's own


@pytest.mark.parametrize("side, channels, unlabeled", [(8, 3, 0), (9, 1, 4), (40, 3, 4), (28, 1, 0)])
def test_a_folder_becomes_a_data_set(side, channels, unlabeled, tmp_path, data_dir):
    images = Folder(side, channels, unlabeled)
    prepare.import_images("mine", images.write(tmp_path / "mine"), data_dir)
    assert_holds(store.open_images("mine", data_dir), images)
    data = load("mine_LT_2.1@2-1", data_dir)
    assert (data.side, data.channels, data.mirror, data.shift) == (side, channels, True, side // 8)
    assert len(data.unlabeled) == 12 + unlabeled - 1


def test_an_archive_of_a_folder_and_an_npz_file_are_the_same_data_set(tmp_path, data_dir):
    images = Folder(unlabeled=4)
    prepare.import_images("tar", tar_of(images.write(tmp_path / "mine"), tmp_path / "mine.tar.gz"), data_dir)
    prepare.import_images("npz", images.write_npz(tmp_path / "mine.npz"), data_dir)
    for name in ("tar", "npz"):
        assert_holds(store.open_images(name, data_dir), images)


def test_gray_npz_images_without_channels_and_labels_in_a_column_are_read(tmp_path, data_dir):
    images = Folder(channels=1)
    path = images.write_npz(
        tmp_path / "mine.npz",
        train_images=images.train[..., 0],
        test_images=images.test[..., 0],
        train_labels=images.train_labels[:, None],
        class_names=None,
    )
    prepare.import_images("mine", path, data_dir)
    images.names = ["0", "1", "2"]
    assert_holds(store.open_images("mine", data_dir), images)


def test_one_colour_image_makes_the_data_set_colour(tmp_path, data_dir):
    gray = Folder(channels=1)
    source = gray.write(tmp_path / "mine")
    save_png(random_images(1, 8)[0], source / "test" / "cat" / "9999.png")
    prepare.import_images("mine", source, data_dir)
    images = store.open_images("mine", data_dir)
    np.testing.assert_array_equal(images.train_images, gray.train.repeat(3, axis=3))
    np.testing.assert_array_equal(images.test_images[-1], random_images(1, 8)[0])


def test_weak_augmentation_is_as_asked(tmp_path, data_dir):
    source = Folder(side=32).write(tmp_path / "mine")
    prepare.import_images("mine", source, data_dir, mirror=False, shift=7)
    assert (load("mine.1@3-1", data_dir).mirror, load("mine.1@3-1", data_dir).shift) == (False, 7)
    with pytest.raises(UserError, match="shift by 32 pixels is impossible"):
        prepare.import_images("other", source, data_dir, shift=32)


@pytest.mark.parametrize(
    "name, message",
    [
        ("Mine", "cannot be the name of a data set"),
        ("a.b", "cannot be the name"),
        ("../a", "cannot be the name"),
        ("a" * 65, "cannot be the name"),
        ("a\n", "cannot be the name"),
        ("digits", "the name of Optical handwritten digits"),
        ("cifar10", "the name of CIFAR-10, .* prepare cifar10 --from PATH"),
    ],
)
def test_impossible_names_are_refused(name, message, tmp_path, data_dir):
    with pytest.raises(UserError, match=message):
        prepare.import_images(name, Folder().write(tmp_path / "mine"), data_dir)


def test_a_taken_name_is_refused_and_the_data_are_kept(tmp_path, data_dir):
    source = Folder().write(tmp_path / "mine")
    prepare.import_images("mine", source, data_dir)
    with pytest.raises(UserError, match="there is a data set 'mine' in .*choose another name"):
        prepare.import_images("mine", source, data_dir)
    assert writing.verify("mine", data_dir)


def test_the_matlab_edition_of_stl10_without_h5py_says_what_to_do(tmp_path, data_dir, monkeypatch):
    source = written(Stl10(), "matlab_without_unlabeled", tmp_path / "stl10_matlab")
    (source / "unlabeled.mat").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py, or take the binary edition"):
        prepare.prepare("stl10", data_dir, source=source, unofficial=True)


@pytest.mark.parametrize(
    "name, make, edition, file, content",
    [
        (
            "cifar10",
            Cifar,
            "python",
            "data_batch_1",
            pickle.dumps({"data": np.zeros((3, 3071), np.uint8), "labels": []}),
        ),
        ("cifar10", Cifar, "python", "data_batch_1", pickle.dumps({"data": [1, 2], "labels": []})),
        ("cifar10", Cifar, "python", "data_batch_1", pickle.dumps({"labels": []})),
        ("cifar10", Cifar, "python", "data_batch_1", pickle.dumps([1])),
        (
            "miniimagenet",
            MiniImageNet,
            "caches",
            "mini-imagenet-cache-val.pkl",
            pickle.dumps({"image_data": np.zeros((6, 80, 80, 3), np.uint8), "class_dict": {}}),
        ),
    ],
)
def test_files_of_another_content_are_named(name, make, edition, file, content, tmp_path, data_dir):
    source = written(make(), edition, tmp_path / "source")
    (source / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        prepare.prepare(name, data_dir, source=source, unofficial=True)
    assert_nothing_left(data_dir, name)


def test_folds_of_images_that_do_not_exist_are_refused(tmp_path, data_dir):
    data = Stl10()
    data.folds[4, 7] = 40  # the first unlabeled image
    with pytest.raises(UserError, match="label of fold image 87 is -1"):
        prepare.prepare("stl10", data_dir, source=written(data, "binary", tmp_path / "source"), unofficial=True)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="nothing can be written to .*file/data .* choose another --data-dir"):
        prepare.prepare("cifar10", tmp_path / "file" / "data", source=tmp_path)


def test_a_prepared_data_set_needs_no_lock(tmp_path, data_dir):
    """A shared mount may be read-only."""
    source = written(Cifar(), "binary", tmp_path / "source")
    prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
    with writing.locked("cifar10", data_dir):
        assert not prepare.prepare("cifar10", data_dir, source=source, unofficial=True)
        assert load("cifar10.1@10-1", data_dir).classes == 10
