"""Sweeps through real Ray: from the file to records and the table, again, grown, disturbed, distributed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cissl.tuning import cli, sweep_file
from tests.tuning.conftest import LONGER, descendants
from tests.tuning.faults import Disturber, command_line, records

ROOT = Path(__file__).parents[2]


def states(folder):
    return [json.loads(path.read_text())["state"] for path in sorted(folder.glob("*/status.json"))]


def test_from_the_file_to_the_table_then_again_then_grown(sweep, tmp_path):
    folder = tmp_path / "results" / "tiny"

    code, out = sweep()
    assert code == 0
    assert f"tiny: 2 trials: 2 new, in {folder}" in out
    assert "note: 2 trials have as few as 7 steps, in which an average with ema_decay 0.999 hardly forgets" in out
    assert "complete  fixmatch-digits_LT_10-s1" in out and "2 of 2 trials complete." in out
    first = records(folder)
    assert {name.rpartition("-")[0] for name in first} == {"fixmatch-digits_LT_10-s1", "cadr-digits_LT_10-s1"}
    assert [[row["step"] for row in rows] for rows, _ in first.values()] == [[2, 4, 6, 7]] * 2
    config = json.loads((folder / next(iter(first)) / "config.json").read_text())
    assert (config["sweep"], config["config"]["valid_size"] if "valid_size" in config["config"] else None) == (
        "tiny",
        None,
    )
    assert (folder / "sweep.yaml").read_text() == (tmp_path / "tiny.yaml").read_text()

    command = [sys.executable, ROOT / "analysis" / "tables.py", folder, "--format", "markdown"]
    table = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert table.returncode == 0, table.stderr
    assert "FixMatch" in table.stdout and "CADR" in table.stdout

    began = time.time()
    code, out = sweep()
    assert code == 0 and "tiny: 2 trials: 2 complete, in" in out
    assert records(folder) == first
    assert all(path.stat().st_mtime < began for path in folder.glob("*/status.json"))

    code, out = sweep("seed=[1, 2]")
    assert code == 0 and "tiny: 4 trials: 2 complete, 2 new, in" in out
    grown = records(folder)
    assert len(grown) == 4 and first.items() <= grown.items()

    trial = folder / next(iter(first))
    facts = json.loads((trial / "provenance.json").read_text())
    (trial / "provenance.json").write_text(json.dumps(facts | {"content_hash": "0123456789ab"}))
    assert sweep()[0] == 2  # complete, and of other data: not to stand beside the others without a word


def test_a_trial_that_diverges_is_recorded_and_not_repeated(sweep, tmp_path):
    code, out = sweep("lr=1e20", "algorithm=[fixmatch]")
    assert code == 1
    assert "0 of 1 trials complete." in out and "diverged: fixmatch-digits_LT_10-s1 at step" in out
    assert states(tmp_path / "results" / "tiny") == ["diverged"]
    code, out = sweep("lr=1e20", "algorithm=[fixmatch]")
    assert code == 1 and "1 trials: 1 diverged and not repeated" in out


def test_a_trial_that_raises_is_listed_with_its_error_and_the_others_go_on(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("cissl.tuning.sweep.RETRIES", 1)  # each takes a fresh process
    broken = sweep_file.load(tmp_path / "tiny.yaml").trials[0]
    trial = tmp_path / "results" / "tiny" / broken.trial_id
    trial.mkdir(parents=True)
    (trial / "stats").symlink_to(tmp_path / "gone" / "stats")  # a folder that cannot be made
    code, out = sweep()
    assert code == 1
    assert "1 of 2 trials complete." in out
    assert f"failed: {broken.name} at step 2/7: " in out and str(trial / "status.json") in out
    (trial / "stats").unlink()
    code, out = sweep()
    assert code == 0 and "2 trials: 1 complete, 1 failed and tried again" in out


@pytest.mark.parametrize(
    "name, message", [(".lock", "tiny: cannot be written: "), ("runs.jsonl", "tiny/runs.jsonl: cannot be read: ")]
)
def test_a_folder_that_cannot_be_used_is_refused(name, message, ray_session, tiny, tmp_path, capsys):
    (tmp_path / "tiny" / name).mkdir(parents=True)  # where a file will have to be
    assert cli.main([str(tiny), "--storage-path", str(tmp_path)]) == 2
    assert f"{tmp_path}/{message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path, message",
    [
        ("file", "cannot be a folder, since {tmp}/file is a file"),
        ("file/below", "cannot be a folder, since {tmp}/file is a file"),
        ("~nobody-here/x", "--storage-path ~nobody-here/x: there is no such user"),
        ("", "--storage-path '': this is no path of a folder"),
        ("s3:/bucket", "--storage-path s3:/bucket: an object store is written s3://…"),
        ("s3:bucket/x", "an object store is written s3://…"),
        ("s3//bucket", "an object store is written s3://…"),
        ("s3://", "an object store is written s3://…"),
        ("gs:/bucket", "an object store is written gs://…"),
        (300 * "a", "cannot be"),
    ],
)
def test_a_place_that_cannot_hold_results_is_refused_before_ray_starts(
    path, message, tiny, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert cli.main([str(tiny), "--storage-path", path]) == 2
    error = capsys.readouterr().err
    assert message.format(tmp=tmp_path) in error and "make room" not in error and len(error.splitlines()) == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "tiny.yaml"}


@pytest.mark.parametrize(
    "words, message",
    [
        (["--data-dir", "~nobody-here/x"], "--data-dir ~nobody-here/x: there is no such user"),
        (["--data-dir", "s3://bucket"], "--data-dir s3://bucket: this has to be a folder of this machine"),
        (["--set", "data_dir=~nobody-here/x"], "tiny.yaml: data_dir ~nobody-here/x: there is no such user"),
        (["--set", 'data_dir="a\\0b"'], "this is no path of a folder"),
    ],
)
def test_a_folder_of_data_that_cannot_be_is_refused(words, message, tiny, capsys):
    assert cli.main([str(tiny), "--dry-run", *words]) == 2
    assert message in capsys.readouterr().err


def test_two_files_of_one_name_do_not_share_a_folder_in_silence(tiny, tmp_path):
    from cissl.tuning import sweep as tune  # sets the environment that Ray is imported in

    place = tune.SweepFolder(str(tmp_path), "tiny")
    place.folder.mkdir()

    def run(file, *overrides):
        loaded = sweep_file.load(file, overrides)
        said = "\n".join(tune.notes(loaded, place))
        tune.keep_provenance(loaded, tune.GridTrials(loaded, place.folder), place, [])
        return said

    assert run(tiny) == run(tiny, "lr=0.1") == run(tiny) == ""
    copy = tmp_path / "copy.yaml"
    copy.write_text(tiny.read_text())
    assert run(copy) == ""  # the same sweep, from elsewhere
    other = tmp_path / "night.yaml"
    other.write_text(tiny.read_text().replace("batch: 8", "batch: 16"))
    assert run(other).startswith(f"note: this folder was last run from {copy}, and now from {other}; if these are two")
    assert run(other) == ""


def test_a_sweep_that_finds_no_room_says_what_it_waits_for(sweep, monkeypatch):
    import ray

    for name, seconds in (("sweep.PATIENCE_S", 0.5), ("sweep.LOOK_EVERY_S", 0.2), ("progress.LOG_EVERY_S", 0.2)):
        monkeypatch.setattr(f"cissl.tuning.{name}", seconds)
    holder = ray.remote(num_cpus=2)(Holder).remote()
    ray.get(holder.is_there.remote())
    threading.Timer(3, ray.kill, [holder]).start()
    code, out = sweep("algorithm=[fixmatch]")
    assert code == 0
    lines = out.splitlines()
    waiting = [
        number for number, line in enumerate(lines) if line == "  waiting for 1 CPU (the cluster has 2, 0 are free)"
    ]
    assert waiting and "waiting" not in lines[-4]


class Holder:
    """Somebody else's work."""

    def is_there(self):
        return True


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_records(calm, tiny, tmp_path):
    """`tests.tuning.faults` by itself does this a hundred times and more."""
    words = [*LONGER, "concurrency=2"]
    command = [sys.executable, ROOT / "sweeps" / "run.py", tiny, "--storage-path", tmp_path]
    command += [part for word in words for part in ("--set", word)]
    kinds = ["trial killed", "driver killed", "node killed"]
    disturber = Disturber(list(map(str, command)), sweep_file.load(tiny, words), tmp_path / "tiny", kinds, seed=1)
    disturber.run()
    assert all(disturber.counts[kind] for kind in kinds)
    assert records(tmp_path / "tiny") == calm


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])  # faults.py sends SIGINT
def test_an_interruption_ends_with_code_3_and_the_same_command_continues(number, sweep, tiny, tmp_path, calm):
    words = ["--storage-path", tmp_path / "results", "--set", "train_kimg=1", "--set", "algorithm=[cadr]"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "sweeps" / "run.py", tiny, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    folder = tmp_path / "results" / "tiny"
    try:
        while not list(folder.glob("*/history.jsonl")):
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3, err
    assert "Interrupted; 1 trials: 1 continues at step" in out and f"To continue: {sys.executable} " in out
    assert "Traceback" not in err
    assert states(folder) == ["stopped"]

    code, out = sweep("train_kimg=1", "algorithm=[cadr]")
    assert code == 0 and "1 continues at step" in out
    assert records(folder).items() <= calm.items()


@pytest.mark.slow
def test_several_workers_of_which_one_is_killed_leave_the_records_of_one(sweep, tmp_path):
    words = ["algorithm=[cadr]", "train_kimg=0.25"]
    sweep("name=alone", *words)
    killed = []
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path / "results" / "tiny", killed))
    killer.start()
    code, out = sweep(*words, "resources.workers=2")
    killer.join()
    assert code == 0, out
    assert killed and len(list((tmp_path / "results" / "tiny").glob("*/error.txt"))) == 1
    (one, _), (two, _) = (next(iter(records(tmp_path / "results" / name).values())) for name in ("alone", "tiny"))
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-3)


def kill_a_worker(folder, killed, patience=120):
    """One of those of Ray Train, once there is an evaluation."""
    until = time.monotonic() + patience
    while not list(folder.glob("*/history.jsonl")) and time.monotonic() < until:
        time.sleep(0.01)
    workers = [pid for pid in descendants(os.getpid()) if b"RayTrainWorker" in command_line(pid)]
    os.kill(max(workers), signal.SIGKILL)
    killed.append(max(workers))


def test_a_search_runs_its_grid_for_each_candidate_and_goes_on(sweep, tmp_path):
    search = ["algorithm=cadr", "seed=[1, 2]", "search.space={confidence: {uniform: [0.5, 0.95]}}", "search.trials=2"]
    folder = tmp_path / "results" / "tiny"
    code, out = sweep(*search)
    assert code == 0 and "2 of 2 candidates: 2 complete" in out and "best valid_accuracy: " in out
    first = json.loads((folder / "search.json").read_text())
    assert [row["state"] for row in first] == ["complete", "complete"] and len(records(folder)) == 4
    kept = sweep_file.load(folder / "sweep.yaml")  # what was run, and not the file, which has no search
    assert kept.search.space["confidence"].values == (0.5, 0.95) and kept.source.values["name"] == "tiny"
    code, out = sweep(*search[:3], "search.trials=3")
    assert code == 0
    second = json.loads((folder / "search.json").read_text())
    assert second[:2] == first and len(second) == 3 and len(records(folder)) == 6


def test_early_stopping_gives_candidates_up_for_good(sweep, tmp_path):
    search = [
        "algorithm=[fixmatch]",
        "train_kimg=0.5",
        "report_kimg=0.125",
        "save_kimg=0.125",
        "bn_decay=0.9",
        "ema_decay=0.8",
        "valid_size=200",
        "search.space={lr: {choice: [0.6, 1e-6]}}",  # the one learns, the other stays at chance
        "search.sampler=random",
        "search.seed=6",  # draws them in turn
        "search.trials=4",
        "search.asha={grace_kimg: 0.25, reduction_factor: 2}",
    ]
    code, out = sweep(*search)
    assert code == 0, out
    rows = json.loads((tmp_path / "results" / "tiny" / "search.json").read_text())
    assert [row["state"] for row in rows] == ["complete", "pruned", "complete", "pruned"], rows
    given_up = {row["stopped"] for row in rows if row["state"] == "pruned"}
    (status,) = (json.loads((tmp_path / "results" / "tiny" / trial / "status.json").read_text()) for trial in given_up)
    assert (status["state"], status["step"]) == ("stopped", 32)
    code, out = sweep(*search)
    assert code == 0 and "2 complete, 2 pruned, 0 failed, 0 open" in out


def test_a_damaged_line_in_one_trials_history_does_not_stop_the_others(sweep, tmp_path):
    sweep("algorithm=fixmatch")
    folder = tmp_path / "results" / "tiny"
    (path,) = folder.glob("*/history.jsonl")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b'{"step": 4, "accur', *lines[2:]]))
    status = json.loads((path.parent / "status.json").read_text())
    (path.parent / "status.json").write_text(json.dumps({**status, "state": "stopped"}))
    code, out = sweep()
    assert code == 0 and states(folder) == ["complete", "complete"]
    assert f"note: {path}, line 2: damaged" in out
    assert [row["step"] for row in map(json.loads, path.read_text().splitlines())] == [2, 4, 6, 7]
