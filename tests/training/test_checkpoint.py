"""Checkpoints survive damage, and only the newest are kept."""

import contextlib
import logging

import pytest
import torch

from cissl.atomic_files import atomic_write, read_json, write_json
from cissl.errors import UserError
from cissl.training import checkpoint
from cissl.training.checkpoint import checkpoints, damaged_checkpoints, load_newest_checkpoint, save_checkpoint


def test_the_newest_is_loaded_and_the_oldest_removed(tmp_path):
    for step in range(1, 6):
        save_checkpoint(tmp_path, step, {"step": step, "weights": torch.ones(3) * step}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_0000000004.pt", "step_0000000005.pt"]
    assert load_newest_checkpoint(tmp_path)["step"] == 5


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path):
    assert load_newest_checkpoint(tmp_path) is None
    assert load_newest_checkpoint(tmp_path / "nowhere") is None


def truncate(data):
    return data[: len(data) // 2]


def flip_a_bit_of_the_weights(data):
    middle = data.index(torch.full((64,), 7.0).numpy().tobytes()) + 10
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def empty(data):
    return b""


@pytest.mark.parametrize("damage", [truncate, flip_a_bit_of_the_weights, empty])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, damage):
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)
    newest = save_checkpoint(tmp_path, 2, {"step": 2, "weights": torch.full((64,), 7.0)}, keep=2)
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert load_newest_checkpoint(tmp_path)["step"] == 1
    assert newest.name in caplog.text
    assert damaged_checkpoints(tmp_path) == [newest.with_suffix(".damaged")]
    save_checkpoint(tmp_path, 2, {"step": 2}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_0000000001.pt", "step_0000000002.pt"]


def test_a_search_for_a_checkpoint_that_fails_leaves_all_files(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)
    (tmp_path / "step_0000000002.pt").write_bytes(b"")

    def refuse(path, state):
        raise UserError("of another trial")

    with pytest.raises(UserError):
        load_newest_checkpoint(tmp_path, check=refuse)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_0000000001.pt", "step_0000000002.pt"]


def test_loading_never_runs_code(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)
    torch.save({"step": 2, "evil": Evil()}, tmp_path / "step_0000000002.pt")
    assert load_newest_checkpoint(tmp_path)["step"] == 1
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_what_stops_a_save_is_heard_as_it_is(tmp_path, raised, monkeypatch):
    """torch.save makes a RuntimeError of it."""
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)

    @contextlib.contextmanager
    def stopping(path):
        class File:
            def write(self, data):
                raise raised

        yield File()

    monkeypatch.setattr(checkpoint, "atomic_write", stopping)
    with pytest.raises(type(raised)):
        save_checkpoint(tmp_path, 2, {"weights": torch.ones(3)}, keep=2)
    assert load_newest_checkpoint(tmp_path)["step"] == 1


def test_a_failed_write_names_the_file_that_people_know(tmp_path):
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "status.json"):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(tmp_path / "status.json") and not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"state": "running"})
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"{half of a fi")
        raise RuntimeError("power cut")
    assert read_json(path) == {"state": "running"}
    assert list(tmp_path.iterdir()) == [path]
