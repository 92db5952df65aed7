"""What every command does at a mistake or at an early end."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "cissl.datasets", "inspect", "digits_LT_10.1@10-20"],
        [ROOT / "sweeps" / "run.py", ROOT / "sweeps" / "digits_lt.yaml", "--dry-run"],
    ],
    ids=["datasets", "dry run"],
)
def test_a_reader_that_has_seen_enough_is_no_failure(command):
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)
