"""A file is there as a whole or not at all, and what is no regular file is written to."""

import os

import pytest

from cissl.atomic_files import atomic_write, write_output


@pytest.mark.parametrize("name", ["x" * 255, "日" * 85])
def test_the_longest_names_that_there_are_can_be_written(tmp_path, name):
    write_output(tmp_path / name, b"1")
    assert (tmp_path / name).read_bytes() == b"1"


def test_a_link_and_a_device_are_written_to_and_stay(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_output(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"
    (tmp_path / "device").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        write_output(tmp_path / "device", b"new")
    assert error.value.filename == str(tmp_path / "device")


def test_of_a_full_disk_the_older_file_stays_and_is_named(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    write_output(tmp_path / "table.md", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_output(tmp_path / "table.md", b"new")
    assert error.value.filename == str(tmp_path / "table.md")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("table.md", b"old")]


def test_a_place_where_nothing_can_be_made_is_named_and_not_the_temporary_file(tmp_path):
    with pytest.raises(OSError) as error, atomic_write(tmp_path / ("x" * 256)):
        pass
    assert error.value.filename == str(tmp_path / ("x" * 256))
