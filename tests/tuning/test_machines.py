"""Sweeps on clusters: several machines of which one dies, and Ray's jobs."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def history(folder):
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_machine_that_dies_costs_no_row_and_doubles_none(machines, tiny, tmp_path):
    machines.add(cpus=0)
    workers = [machines.add(cpus=1), machines.add(cpus=1)]
    words = [tiny, "--set", "train_kimg=1", "--set", "concurrency=2"]
    process = machines.run(*words, "--storage-path", tmp_path / "results")
    folder = tmp_path / "results" / "tiny"
    while len(list(folder.glob("*/history.jsonl"))) < 2:  # each worker trains one
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
    machines.kill(workers[1])
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "2 of 2 trials complete." in out

    process = machines.run(*words, "--storage-path", tmp_path / "calm")
    assert process.wait(timeout=240) == 0
    for trial in (tmp_path / "calm" / "tiny").glob("*/history.jsonl"):
        assert history(folder / trial.parent.name) == history(trial.parent)


def test_a_job_runs_a_sweep_to_its_table(machines, tiny, tmp_path):
    if importlib.util.find_spec("aiohttp_cors") is None:
        pytest.skip("Ray's jobs need ray[default]")
    machines.add(cpus=1)
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--"]
    job = subprocess.run(
        [*command, "python", "sweeps/run.py", tiny, "--storage-path", tmp_path / "results"],
        env=machines.environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{machines.dashboard}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert job.returncode == 0, job.stdout + job.stderr
    assert "2 of 2 trials complete." in job.stdout and "succeeded" in job.stdout + job.stderr
    table = subprocess.run(
        [sys.executable, ROOT / "analysis" / "tables.py", tmp_path / "results" / "tiny"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert table.returncode == 0 and "CADR" in table.stdout, table.stderr
