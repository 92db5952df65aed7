"""Results in an object store: what is copied when, on ``file://`` and on a server that speaks S3."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from cissl.errors import UserError
from cissl.tuning.remote import Mirror, SweepFolder, trial_folder


@pytest.fixture
def store(tmp_path):
    return (tmp_path / "store").as_uri()


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_changed_goes_up_and_what_is_gone_goes_away(store, tmp_path):
    here, there = tmp_path / "here", tmp_path / "store" / "night"
    mirror = Mirror(f"{store}/night", here)
    write(here, status="1", checkpoints__a="old", checkpoints__b="new")
    write(here, **{".half": "being written"})
    mirror.push()
    assert tree(there) == {"status": "1", "checkpoints/a": "old", "checkpoints/b": "new"}
    (here / "checkpoints" / "a").unlink()
    write(here, status="2", checkpoints__c="newest")
    mirror.push()
    assert tree(there) == {"status": "2", "checkpoints/b": "new", "checkpoints/c": "newest"}


def test_a_checkpoint_goes_up_after_the_history_that_it_counts_on_and_before_the_status(store, tmp_path, monkeypatch):
    mirror = Mirror(f"{store}/night", tmp_path / "here")
    names = ("trial/checkpoints/step_1.pt", "trial/confusion.npy", "trial/history.jsonl", "trial/status.json")
    write(tmp_path / "here", **{name.replace("/", "__"): name for name in names})
    uploaded = []
    monkeypatch.setattr(mirror, "_write", lambda path, content: uploaded.append(path))
    mirror.push()
    assert sorted(uploaded[:2]) == ["trial/confusion.npy", "trial/history.jsonl"]
    assert uploaded[2:] == ["trial/checkpoints/step_1.pt", "trial/status.json"]


def test_only_what_changed_is_uploaded(store, tmp_path):
    here, there = tmp_path / "here", tmp_path / "store" / "night"
    mirror = Mirror(f"{store}/night", here)
    write(here, a="1", b="2")
    mirror.push()
    (there / "a").write_text("as it was put there")
    write(here, b="3")
    mirror.push()
    assert tree(there) == {"a": "as it was put there", "b": "3"}


def test_another_machine_begins_with_what_the_store_has(store, tmp_path):
    Mirror(f"{store}/night", tmp_path / "one").push()
    write(tmp_path / "one", status="1", checkpoints__a="a")
    Mirror(f"{store}/night", tmp_path / "one").push()
    write(tmp_path / "two", checkpoints__z="of an attempt that was never uploaded")
    other = Mirror(f"{store}/night", tmp_path / "two")
    other.pull()
    assert tree(tmp_path / "two") == {"status": "1", "checkpoints/a": "a"}
    (tmp_path / "two" / "checkpoints" / "a").unlink()
    other.push()
    assert tree(tmp_path / "store" / "night") == {"status": "1"}


def test_a_trial_keeps_what_it_wrote_even_when_it_raises(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        with trial_folder(f"{store}/night", tmp_path, "trial", rank=0) as (folder, keep):
            write(folder, status="running", row="1")
            keep()
            write(folder, status="failed")
            raise ZeroDivisionError
    assert tree(tmp_path / "store" / "night" / "trial") == {"status": "failed", "row": "1"}
    with trial_folder(f"{store}/night", tmp_path, "trial", rank=1) as (folder, keep):
        assert tree(folder) == {"status": "failed", "row": "1"}
        write(folder, status="nobody else's business")
        keep()
    assert tree(tmp_path / "store" / "night" / "trial")["status"] == "failed"


def test_the_driver_sees_records_and_no_checkpoints(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trial = tmp_path / "store" / "night" / "trial"
    write(trial, **{"status.json": '{"state": "complete"}', "checkpoints__a": "large"})
    results = SweepFolder(store, "night")
    assert tree(results.folder) == {"trial/status.json": '{"state": "complete"}'}
    write(trial, **{"status.json": '{"state": "failed"}'})
    assert results.state("trial") == "failed"
    assert results.state("unknown") is None
    write(results.folder, **{"sweep.yaml": "settings:"})
    results.publish()
    assert (tmp_path / "store" / "night" / "sweep.yaml").read_text() == "settings:"


def test_a_store_that_cannot_be_opened_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="--storage-path nowhere://bucket: cannot be opened"):
        SweepFolder("nowhere://key:secret@bucket?option=1", "night")


def test_a_folder_is_used_as_it_is(tmp_path):
    results = SweepFolder(str(tmp_path), "night")
    assert (results.folder, results.remote, str(results)) == (tmp_path / "night", None, str(tmp_path / "night"))
    with trial_folder(None, results.folder, "trial", rank=0) as (folder, _):
        assert folder == tmp_path / "night" / "trial"


def test_a_sweep_in_a_store_continues_from_it(sweep, store, tiny, tmp_path, capsys, monkeypatch):
    from cissl.tuning import cli

    words = [os.fspath(tiny), "--storage-path", store]
    assert cli.main(words) == 0
    assert "2 of 2 trials complete." in capsys.readouterr().out
    folder = tmp_path / "store" / "tiny"
    assert len(list(folder.glob("*/weights.pt"))) == 2
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))  # another machine, with nothing of its own
    assert cli.main(words) == 0
    assert "2 trials: 2 complete" in capsys.readouterr().out
    assert len((folder / "runs.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_s3(tiny, tmp_path):
    """A server of moto (PyPI) on loopback, the whole program and the table."""
    from pyarrow import fs

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
    }
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment["PYTHONPATH"] = root
    try:
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        s3 = fs.S3FileSystem(
            access_key="any",
            secret_key="any",
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            allow_bucket_creation=True,
        )
        s3.create_dir("results")
        for expected in ("2 trials: 2 new", "2 trials: 2 complete"):
            command = [sys.executable, f"{root}/sweeps/run.py", tiny, "--storage-path", "s3://results/all"]
            process = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert process.returncode == 0, process.stdout + process.stderr
            assert expected in process.stdout
        infos = s3.get_file_info(fs.FileSelector("results/all/tiny", recursive=True))
        statuses = [info.path for info in infos if info.path.endswith("/status.json")]
        assert [json.loads(s3.open_input_stream(path).read())["state"] for path in statuses] == ["complete"] * 2
        command = [sys.executable, f"{root}/analysis/tables.py", "s3://results/all/tiny"]
        table = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
        assert table.returncode == 0 and "CADR" in table.stdout, table.stderr
    finally:
        server.kill()
        server.wait()
