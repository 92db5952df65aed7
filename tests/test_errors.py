"""What every command does at a mistake or at an early end."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cissl import predict
from cissl.algorithms import __main__ as algorithms
from cissl.analysis import tables
from cissl.datasets import __main__ as datasets
from cissl.tuning import cli
from cissl.tuning.progress import Progress

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "cissl.datasets", "inspect", "digits_LT_10.1@10-20"],
        [ROOT / "sweeps" / "run.py", ROOT / "sweeps" / "digits_lt.yaml", "--dry-run"],
        [ROOT / "analysis" / "tables.py", ROOT / "tests" / "analysis" / "golden"],
    ],
    ids=["datasets", "dry run", "tables"],
)
def test_a_reader_that_has_seen_enough_is_no_failure(command):
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "cissl.train", "--help"],
        ["-m", "cissl.datasets", "list"],
        ["-m", "cissl.algorithms", "cadr"],
        [ROOT / "sweeps" / "run.py", ROOT / "sweeps" / "cifar100_lt.yaml", "--dry-run"],
        [ROOT / "sweeps" / "run.py", ROOT / "sweeps" / "cifar100_lt.yaml", "--dry-run", "--set", "lr=γ"],
        [ROOT / "analysis" / "tables.py", ROOT / "tests" / "analysis" / "golden" / "tiny_lt"],
    ],
    ids=["train", "datasets", "algorithms", "sweep", "mistake", "tables"],
)
def test_no_character_that_a_terminal_lacks_ends_a_command(command):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, env=environment)
    assert done.returncode == (2 if "lr=γ" in command else 0), done.stderr
    assert b"Traceback" not in done.stderr
    assert b"?" in done.stdout + done.stderr


COMMANDS = {
    "datasets": (datasets.main, ["list"]),
    "algorithms": (algorithms.main, ["cadr"]),
    "sweep": (cli.main, [str(ROOT / "sweeps" / "digits_lt.yaml"), "--dry-run"]),
    "tables": (tables.main, [str(ROOT / "tests" / "analysis" / "golden" / "tiny_lt")]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stdout_that_the_caller_has_closed_is_no_failure(name, monkeypatch, capsys):
    main, arguments = COMMANDS[name]
    monkeypatch.setattr(sys, "stdout", None)
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stdout_on_a_full_disk_is_told_in_a_line(name, monkeypatch, capsys):
    main, arguments = COMMANDS[name]
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 2
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # for what Python still holds back
    error = capsys.readouterr().err
    assert "No space left on device" in error and error.count("\n") == 1


@pytest.mark.parametrize("path", ["", "  ", "a\0b", "~nobody-here/x"])
@pytest.mark.parametrize(
    "command",
    [
        (datasets.main, "list", "--data-dir"),
        (datasets.main, "import", "own"),
        (datasets.main, "prepare", "cifar10", "--from"),
        (datasets.main, "inspect", "digits.1@40-1", "--plot"),
        (predict.main, "trial", "x.png", "--out"),
        (predict.main, "trial"),
    ],
    ids=lambda command: " ".join(command[1:]),
)
def test_what_can_be_no_path_is_not_taken_for_the_current_folder(command, path, capsys):
    main, *arguments = command
    with pytest.raises(SystemExit) as end:
        main([*arguments, path])
    assert end.value.code == 2
    assert ("there is no such user" if "~" in path else f"'{path}' is no path") in capsys.readouterr().err


def test_the_progress_of_a_sweep_is_shown_on_any_stream():
    raw = io.BytesIO()
    progress = Progress(1, (1, "CPU"), stream=io.TextIOWrapper(raw, encoding="ascii"))
    progress.say("γ = 20")
    assert raw.getvalue() == b"? = 20\n"
