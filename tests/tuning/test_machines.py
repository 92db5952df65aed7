"""Sweeps on clusters: several machines of which one dies, and Ray's jobs."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ray.job_submission import JobStatus, JobSubmissionClient
from sklearn.datasets import load_digits

from cissl.datasets.prepare import import_images

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
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    for trial in (tmp_path / "calm" / "tiny").glob("*/history.jsonl"):
        assert history(folder / trial.parent.name) == history(trial.parent)


def test_a_data_set_missing_on_one_machine_is_noticed_before_anything_starts(machines, tiny, tmp_path):
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8)[..., None], digits.target
    arrays = dict(train_images=images, train_labels=labels, test_images=images[:100], test_labels=labels[:100])
    np.savez(tmp_path / "mine.npz", **arrays)
    import_images("mine", tmp_path / "mine.npz", tmp_path / ".cache" / "cissl")  # `tmp_path` is the machines' home
    elsewhere = tmp_path / "elsewhere"
    machines.add(cpus=1)
    machines.add(cpus=1, HOME=str(elsewhere))
    words = [tiny, "--set", "dataset=mine", "--set", "concurrency=2", "--storage-path", tmp_path / "results"]
    process = machines.run(*words)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 2, out + err
    assert (
        "lacks the data set 'mine'; run there: python -m cissl.datasets import mine" in err and "Traceback" not in err
    )
    assert not list((tmp_path / "results").glob("tiny/*/config.json"))

    shutil.copytree(tmp_path / ".cache", elsewhere / ".cache")
    process = machines.run(*words)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0 and "2 of 2 trials complete." in out, out + err


def test_jobs(machines, tiny, tmp_path):
    """The user's own way: through the jobs API and through ``ray job submit``, with a token."""
    machines.add(cpus=1)
    api = JobSubmissionClient(
        f"http://127.0.0.1:{machines.dashboard}",
        headers={"Authorization": f"Bearer {machines.environment['RAY_AUTH_TOKEN']}"},
    )
    results = tmp_path / "results"
    sweep = f"python sweeps/run.py {tiny} --storage-path {results}"
    runs = submitted(api, sweep)
    diverges = api.submit_job(entrypoint=f"{sweep} --set name=wild --set lr=1e30")
    assert ended(api, runs) == JobStatus.SUCCEEDED, api.get_job_logs(runs)
    assert "2 of 2 trials complete." in api.get_job_logs(runs)
    tables = [sys.executable, ROOT / "analysis" / "tables.py", results / "tiny"]
    table = subprocess.run(tables, capture_output=True, text=True)
    assert table.returncode == 0 and "CADR" in table.stdout, table.stderr
    assert ended(api, diverges) == JobStatus.FAILED
    assert api.get_job_info(diverges).driver_exit_code == 1, api.get_job_logs(diverges)

    shutil.copytree(ROOT / "sweeps", tmp_path / "elsewhere" / "sweeps")
    again = submit(machines, "--working-dir", ".", "--", *sweep.split(), folder=tmp_path / "elsewhere")
    assert again.returncode == 0 and "2 trials: 2 complete" in again.stdout, again.stdout + again.stderr
    lost = submit(machines, "--working-dir", ".", "--", *sweep.split()[:-1], "results", folder=tmp_path / "elsewhere")
    assert lost.returncode == 1 and "give an absolute path" in lost.stdout + lost.stderr, lost.stdout + lost.stderr
    stranger = submit(machines, "--", *sweep.split(), folder=tmp_path, RAY_AUTH_TOKEN="1" * 64)
    assert stranger.returncode == 1 and "Authentication" in stranger.stderr, stranger.stdout + stranger.stderr


def submitted(api: JobSubmissionClient, command: str) -> str:
    """Start a job as soon as the head can take one, which is some seconds after `ray start` says that it runs."""
    while True:
        try:
            return api.submit_job(entrypoint=command)
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            time.sleep(1)


def ended(api: JobSubmissionClient, job: str) -> JobStatus:
    while not (status := api.get_job_status(job)).is_terminal():
        time.sleep(0.3)
    return status


def submit(machines, *words, folder, **environment):
    address = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{machines.dashboard}"}
    return subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *words],
        env=machines.environment | address | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
