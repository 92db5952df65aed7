"""One trial from the command line."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from cissl import train
from cissl.train import make_config, parse
from cissl.training import records

TINY = (
    "--dataset digits_LT_10.1@10-1 --filters 4 --repeat 1 --scales 1 --batch 8 --uratio 2 "
    "--train_kimg 0.0625 --report-kimg 0.03125 --save_kimg 0.015625"
).split()

ONE_PIXEL = "--dataset digits.1@20-1 --algorithm supervised --filters 4 --repeat 1 --scales 4".split()


@pytest.mark.parametrize(
    "flags,algorithm",
    [
        ([], "fixmatch"),
        (["--CAP"], "cap"),
        (["--CAI"], "cai"),
        (["--CAP", "--CAI"], "cap+cai"),
        (["--CAP", "--CAI", "--CADR"], "cadr"),
        (["--cap", "--cadr"], "cap+cadr"),
        (["--algorithm", "supervised"], "supervised"),
    ],
)
def test_switches_name_an_algorithm(flags, algorithm):
    assert make_config(parse(flags)).algorithm == algorithm


def test_flags_of_the_authors_program():
    text = (
        "--dataset cifar10_LT_20.1@20-1 --filters 16 --repeat 2 --scales 2 --arch res18 --augment d.d.rac --lr 0.1 "
        "--wd 1e-3 --wu 2 --confidence 0.9 --uratio 5 --batch 32 --train_kimg 10 --report-kimg 1 --save_kimg=2 "
        "--keep_ckpt 3 --CAP --CAI --CADR --CAI_beta 0.7 --CAP-EMA-momentum 0.9 --upper 4 --adepth 3 --ath 0.7 "
        "--adecay 0.9 --seed 5 --train-dir /somewhere --CAP_EMA false"
    )
    options = parse(text.split())
    config = make_config(options)
    assert options.train_dir == "/somewhere"
    assert config.to_dict() == {
        **config.to_dict(),
        "dataset": "cifar10_LT_20.1@20-1", "algorithm": "cadr", "seed": 5, "arch": "res18", "filters": 16, "repeat": 2,
        "scales": 2, "augment": "d.d.rac", "adepth": 3, "ath": 0.7, "adecay": 0.9, "batch": 32, "uratio": 5, "lr": 0.1,
        "wd": 1e-3, "wu": 2.0, "confidence": 0.9, "cai_beta": 0.7, "cap_ema": False, "cap_ema_momentum": 0.9,
        "upper": 4.0, "train_kimg": 10.0, "report_kimg": 1.0, "save_kimg": 2.0, "keep_ckpt": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--CADR"], "CADR needs CAP"),
        (["--confidense", "0.9"], "did you mean '--confidence'"),
        (["--lr", "quick"], "lr must be a number, not 'quick'"),
        (["--batch", "6.5"], "batch must be a whole number"),
        (["--algorithm", "cap", "--CAI"], "either --algorithm or the switches"),
        (["--dataset", "digits_LT_10.1@5000-1"], "5000"),
        (["--dataset", "nosuch.1@40-1"], "nosuch"),
        (["--lr"], "--lr"),
        (["--algorithm"], "--algorithm"),
        (["--algorithm", ""], "unknown algorithm ''"),
        ([*TINY, "--device", "gpu"], "device 'gpu'"),
        ([*TINY, "--device", "meta"], "device 'meta'"),
        ([*TINY, "--device", "cuda:99"], "device 'cuda:99': there is no such GPU"),
        (["--seed", "99999999999999999999"], "seed must be at most 9223372036854775807, not 99999999999999999999"),
        (["--lr", "1e300"], "lr must be at most 1e+38 in size"),
        (["--train_kimg", "1e300"], "train_kimg must be at most"),
        (["--batch", "1e12"], "batch must be at most"),
        ([*TINY, "--repeat", "1e9"], "repeat is 1000000000; such a network has more weights"),
        ([*TINY, "--batch", "1048576", "--uratio", "1024"], "2148532224 images of one step take 550.0 GB"),
        ([*TINY, "--filters", "4096", "--scales", "4"], "more weights than a machine holds"),
        ([*ONE_PIXEL, "--batch", "1"], "BatchNorm cannot be trained on a single image of a single pixel"),
        (["--data-dir", "~nosuchuser/data"], "no such user"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(flags, message, capsys, tmp_path):
    assert train.main([*flags, "--train_dir", str(tmp_path)]) == train.EXIT_USER
    output = capsys.readouterr().err
    assert message in output and "Traceback" not in output


@pytest.mark.parametrize(
    "place,message",
    [
        ("file", "cannot be a folder, since {0}/file is a file"),
        ("file/below", "cannot be a folder, since {0}/file is a file"),
        ("x" * 300, "File name too long"),
        ("loop/below", "Too many levels of symbolic links"),
        ("", "--train-dir '': this is no path"),
        ("caf\udce9", "this name is not UTF-8; choose another --train-dir"),
        ("s3://bucket/trials", "has to be a folder of this machine"),
        ("~nosuchuser/trials", "no such user"),
    ],
)
def test_a_train_dir_that_can_be_none_is_refused(place, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert train.main([*TINY, "--quiet", "--train-dir", place]) == train.EXIT_USER
    output = capsys.readouterr().err
    assert message.format(tmp_path) in output and "Traceback" not in output and "room" not in output
    assert {path.name for path in tmp_path.iterdir()} == {"file", "loop"}


@pytest.mark.parametrize("name", ["checkpoints", "stats", "history.jsonl", "status.json"])  # a logger costs no trial
def test_a_file_for_a_folder_or_a_folder_for_a_file_is_named(name, tmp_path, capsys):
    config = make_config(parse(TINY))
    path = tmp_path / config.trial_id / name
    path.parent.mkdir()
    path.mkdir() if "." in name else path.touch()
    assert train.main([*TINY, "--quiet", "--train-dir", str(tmp_path)]) == train.EXIT_USER
    assert str(path) in capsys.readouterr().err


def test_a_full_disk_is_told_in_one_line(tmp_path):
    limited = "import resource, sys; from cissl import train; size = int(sys.argv[1]); "
    limited += (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)); sys.exit(train.main(sys.argv[2:]))"
    )
    for size, culprit in ((100, "config.json"), (20_000, "step_0000000002.pt")):
        command = [sys.executable, "-c", limited, str(size), *TINY, "--quiet", "--train-dir", str(tmp_path / str(size))]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == train.EXIT_USER
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: ") and "make room" in last and culprit in last and "Traceback" not in done.stderr


def test_whole_numbers_stay_exact(tmp_path):
    assert make_config(parse(["--seed", "9007199254740993"])).seed == 9007199254740993
    assert make_config(parse(["--seed", "1e3"])).seed == 1000


def test_the_first_line_says_where_the_trial_begins(tmp_path, capsys):
    def first_line():
        train.main([*TINY, "--quiet", "--train-dir", str(tmp_path), "--lr", "1e30"])
        return capsys.readouterr().out.splitlines()[0]

    assert ": 8 steps, records in" in first_line()  # it diverges at its first evaluation, after one checkpoint
    assert ": continues at step 2 of 8 steps, records in" in first_line()


def test_a_complete_trial_says_so_and_shows_unknown_scores(tmp_path, capsys):
    command = [*TINY, "--quiet", "--train-dir", str(tmp_path)]
    assert train.main(command) == 0
    (path,) = tmp_path.glob("*/history.jsonl")
    path.write_text(re.sub('"gmean": [0-9.]+', '"gmean": null', path.read_text()))  # as where a class has no test image
    capsys.readouterr()
    assert train.main(command) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert ": all 8 steps are made, records in" in first and "geometric mean unknown" in last


def test_a_reader_that_has_seen_enough_does_not_end_the_training(tmp_path):
    command = [sys.executable, "-m", "cissl.train", *TINY, "--quiet", "--train_dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.wait(timeout=100), process.stderr.read().count("Error")) == (0, 0)
    assert records.read_status(next(tmp_path.iterdir()))["state"] == "complete"


def test_help_names_every_setting_and_default(capsys):
    with pytest.raises(SystemExit) as status:
        train.main(["--help"])
    assert status.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for words in ("--confidence", "[0.95]", "threshold of the pseudo-labels", "--train_kimg", "[8192.0]", "--CAP"):
        assert words in text


def test_a_trial_runs_and_says_where_its_records_are(tmp_path, capsys):
    assert train.main([*TINY, "--train-dir", str(tmp_path), "--quiet"]) == 0
    (folder,) = tmp_path.iterdir()
    output = capsys.readouterr().out
    assert folder.name in output and "geometric mean" in output
    assert records.read_status(folder)["state"] == "complete"


def test_what_is_seldom_meant_is_said_once_and_before_training(tmp_path, capsys):
    command = [*TINY, "--dataset", "digits.0@5-5", "--train-dir", str(tmp_path), "--quiet"]
    assert train.main(command) == 0
    notes = capsys.readouterr().err
    assert "note: 1 trial has 8 steps, in which an average with ema_decay 0.999 hardly forgets" in notes
    assert "note: 5 of the 10 classes of digits.0@5-5 have no label" in notes
    assert "note: 5 of the 5 validation images of digits.0@5-5 are labeled too, since split seed 0" in notes
    assert train.main(command) == 0
    assert "note" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_command_continues_when_given_again(tmp_path, stop):
    command = [sys.executable, "-m", "cissl.train", *TINY, "--train_kimg", "2", "--train_dir", str(tmp_path)]

    def listen():
        """A shell's background jobs ignore the interruption, and what they start does too until it is told not to."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ, preexec_fn=listen
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/checkpoints/step_*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(stop)
    output = process.communicate(timeout=60)[0].decode()
    if stop != signal.SIGKILL:
        assert process.returncode == train.EXIT_INTERRUPTED
        assert "continues" in output and "Traceback" not in output
    assert train.main([*command[3:], "--quiet"]) == 0
    (folder,) = tmp_path.iterdir()
    assert [row["step"] for row in records.read_history(folder)] == list(range(4, 257, 4))
