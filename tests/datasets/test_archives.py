"""Archives as macOS, Windows and others pack them; and those that mean harm are in test_prepare.py."""

import gzip
import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from cissl.datasets import prepare, store
from cissl.errors import UserError
from tests.datasets.synthetic_archives import Folder


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def files(tmp_path):
    """Name with folders → content, of a folder 'pets' with images of three classes."""
    root = Folder().write(tmp_path / "pets")
    return {str(path.relative_to(tmp_path)): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def imported(archive, data_dir) -> store.Images:
    prepare.import_images("mine", archive, data_dir)
    return store.open_images("mine", data_dir)


def refusal(archive, data_dir) -> str:
    with pytest.raises(UserError) as caught:
        imported(archive, data_dir)
    assert {path.name for path in data_dir.iterdir()} <= {".mine.lock"}
    return str(caught.value)


def zip_of(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            archive.writestr(info, content)
    return path


def zip_of_bytes(path, files):
    """Names as raw bytes without the flag that they are UTF-8, as the Finder and Windows write them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = _RawInfo(repr(name))
            info.raw = name
            archive.writestr(info, content)
    return path


class _RawInfo(zipfile.ZipInfo):
    __slots__ = ("raw",)

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits & ~0x800


def tar_of(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def assert_holds(images):
    np.testing.assert_array_equal(images.train_images, Folder().train)
    np.testing.assert_array_equal(images.test_labels, Folder().test_labels)


def test_an_archive_of_macos_is_read(files, tmp_path, data_dir):
    added = {f"__MACOSX/{name.rpartition('/')[0]}/._{name.rpartition('/')[2]}": b"\0\5\x16\7" for name in files}
    images = imported(zip_of(tmp_path / "a.zip", {**files, **added, "pets/.DS_Store": b"x"}), data_dir)
    assert_holds(images)
    assert "left out of the top folder: __MACOSX (of the operating system)" in images.remarks


def test_backslashes_of_windows_are_folders(files, tmp_path, data_dir):
    turned = {name.replace("/", "\\"): content for name, content in files.items()}
    images = imported(zip_of(tmp_path / "a.zip", turned), data_dir)
    assert_holds(images)
    assert images.remarks == ("18 names in the archive have backslashes, which were read as folders",)


def test_mixed_separators_and_entries_for_folders_are_read(files, tmp_path, data_dir):
    mixed = {name.replace("/", "\\", 2): content for name, content in files.items()}
    assert_holds(imported(zip_of(tmp_path / "a.zip", {"pets\\": b"", "pets\\train\\": b"", **mixed}), data_dir))


def test_backslashes_in_a_tar_archive_are_folders_where_there_is_no_slash(files, tmp_path, data_dir):
    turned = {"./" + name.replace("/", "\\"): content for name, content in files.items()}
    assert_holds(imported(tar_of(tmp_path / "a.tgz", turned), data_dir))


@pytest.mark.parametrize("encoding, remark", [("utf-8", False), ("cp437", True), ("cp1252", True)])
def test_names_of_other_code_pages_are_told(encoding, remark, files, tmp_path, data_dir):
    raw = {name.replace("/bee/", "/café/").encode(encoding): content for name, content in files.items()}
    images = imported(zip_of_bytes(tmp_path / "a.zip", raw), data_dir)
    shown = {"utf-8": "café", "cp437": "café", "cp1252": "café".encode("cp1252").decode("cp437")}[encoding]
    assert images.class_names == ["ant", shown, "cat"]
    assert any("unknown code page" in text for text in images.remarks) == remark


def test_names_that_are_not_utf8_in_a_tar_archive_are_refused(files, tmp_path, data_dir):
    odd = {name.replace("/bee/", "/caf\udce9/"): content for name, content in files.items()}
    assert r"'caf\udce9' in" in refusal(tar_of(tmp_path / "a.tgz", odd), data_dir)


def test_a_name_that_is_there_twice_is_told(files, tmp_path, data_dir):
    first = next(iter(files))
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zip_of(tmp_path / "a.zip", files)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(first, files[first])
    images = imported(path, data_dir)
    assert_holds(images)
    assert images.remarks == ("1 files are in the archive again under the same name; the last ones count",)


def test_messages_name_the_archive_and_not_where_it_was_unpacked(files, tmp_path, data_dir):
    first = next(iter(files))
    message = refusal(zip_of(tmp_path / "a.zip", {**files, first: b"no image"}), data_dir)
    assert message.startswith(f"{tmp_path / 'a.zip'}/{first} is not a readable image") and ".partial" not in message
    message = refusal(zip_of(tmp_path / "b.zip", {"photos/1.png": b"x", "list.csv": b"x"}), data_dir)
    assert message.startswith(f"there is no folder {tmp_path / 'b.zip'}/photos/train: it holds 1.png")


def locked_zip(path, files):
    """With the flag of encryption, which is all that is looked at."""
    content = bytearray(zip_of(path, files).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + offset] |= 1
    path.write_bytes(content)
    return path


def link_zip(path):
    info = zipfile.ZipInfo("pets/train/cat/0.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    "content, message",
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "is a 7z archive, which is not read; unpack it and give the folder"),
        (b"Rar!\x1a\x07\x01\0" + bytes(100), "is a RAR archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "is compressed with Zstandard"),
        (gzip.compress(b"text"), "is compressed with gzip, but has no tar archive in it"),
        (b"", "is no folder, tar archive or zip archive, or it is damaged"),
        (bytes(10_240), "there is no folder .*a.zip/train: it is empty"),
        (b"BZh91AY&SY" + bytes(100), "is no folder|is damaged"),
        (b"\xfd7zXZ\0" + bytes(100), "is no folder|is damaged"),
    ],
    ids=["7z", "rar", "zstandard", "gzip", "empty", "zeros", "bzip2", "xz"],
)
def test_other_files_are_refused_in_words(content, message, tmp_path, data_dir):
    (tmp_path / "a.zip").write_bytes(content)
    refused = refusal(tmp_path / "a.zip", data_dir)
    with pytest.raises(UserError, match=message):
        raise UserError(refused)


def test_encrypted_members_and_links_are_refused(files, tmp_path, data_dir):
    message = refusal(locked_zip(tmp_path / "a.zip", files), data_dir)
    assert "is encrypted: unpack the archive with its password" in message
    assert "'pets/train/cat/0.png', which is a link" in refusal(link_zip(tmp_path / "b.zip"), data_dir)


def test_every_truncation_and_many_changes_end_in_words(files, tmp_path, data_dir):
    few = {name: content for name, content in files.items() if name.endswith(("0.png", "4.png", "8.png"))}
    for make, name in ((zip_of, "a.zip"), (tar_of, "a.tgz")):
        whole = make(tmp_path / name, few).read_bytes()
        draw = np.random.default_rng(0)
        for _ in range(40):
            content = bytearray(whole)
            at = int(draw.integers(len(content)))
            if draw.random() < 0.5:
                content = content[:at]
            else:
                content[at] ^= 1 << int(draw.integers(8))
            (tmp_path / name).write_bytes(content)
            try:
                prepare.import_images("mine", tmp_path / name, data_dir)
            except UserError:
                continue
            prepare.shutil.rmtree(data_dir / "mine")


def test_a_zip_bomb_is_refused_before_the_disk_is_full(tmp_path, data_dir):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(2000):
            archive.writestr(f"train/a/{i}.png", b"")
    many = bytearray(path.read_bytes())
    at = -1
    while (at := many.find(b"PK\x01\x02", at + 1)) >= 0:
        many[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(many)
    assert "8589.93 GB are needed" in refusal(path, data_dir)
