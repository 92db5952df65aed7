"""The dry run's table tells trials apart, and what they need."""

import subprocess
import sys
from pathlib import Path

import pytest

from cissl.atomic_files import write_json
from cissl.config import TrialConfig
from cissl.datasets import load
from cissl.models.backbones import build, parameter_count
from cissl.training.trial import run_trial
from cissl.tuning import cli, plan
from cissl.tuning.state import describe, failures
from tests.tuning.conftest import ROOT


def test_swept_settings_have_a_column(tiny, capsys):
    assert cli.main([str(tiny), "--dry-run", "--set", "lr=[0.03, 0.1]", "--set", "wd=0.001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["trial", "split", "lr", "steps"]
    assert sorted(line.split()[2] for line in lines[2:6]) == ["0.03", "0.03", "0.1", "0.1"]


def test_what_is_a_default_of_each_method_has_no_column(tiny, capsys):
    methods = "algorithm=[supervised, pi_model, mixmatch, uda, dash, acr, simpro]"

    def headings(*words):
        changes = [part for word in (methods, *words) for part in ("--set", word)]
        assert cli.main([str(tiny), "--dry-run", *changes]) == 0
        return capsys.readouterr().out.splitlines()[0].split()

    plain = ["trial", "split", "steps", "evaluations", "labels", "labels", "per", "class"]
    assert headings() == plain  # though their confidence, wu, temperature and epoch are unlike
    assert headings("wu=[0.5, 1]") == ["trial", "split", "wu", *plain[2:]]


def test_doubtful_settings_are_noted(tiny, capsys):
    def notes(*words):
        assert cli.main([str(tiny), "--dry-run", *(part for word in words for part in ("--set", word))]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]

    once, weights, norms, labeled = notes("report_kimg=1")
    assert once.startswith("note: 2 trials are evaluated once")
    assert "2 trials have as few as 7 steps, in which an average with ema_decay 0.999 hardly" in weights
    assert "bn_decay" in norms
    assert labeled.startswith("note: 3 of the 20 validation images of digits_LT_10.1@10-20 are labeled too")
    assert notes("ema_decay=0.5", "bn_decay=0.5", "valid_size=1") == []


def test_a_searchs_dry_run_says_where_trials_are_stopped(tiny, capsys):
    search = "search={space: {lr: {choice: [0.1, 0.2]}}, asha: {grace_kimg: %s, reduction_factor: 2}}"
    for grace, said in (
        (0.0136, "asha: trials of one point of the grid are compared at 25%, 50%, 99% of their training"),
        (0.06, "note: asha stops no trial, since grace_kimg is as long as the shortest training"),
    ):
        assert cli.main([str(tiny), "--dry-run", "--set", search % grace]) == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("keep", [False, True])
def test_the_disk_space_is_what_a_trial_takes(tmp_path, keep):
    kimg = 4 * 16 / 1024
    config = TrialConfig(
        dataset="digits_LT_10.1@10-20", algorithm="supervised", filters=32, repeat=1, scales=2, batch=16,
        train_kimg=kimg, report_kimg=kimg / 4, save_kimg=kimg / 4, keep_training_state=keep,
    )  # fmt: skip
    largest = 0

    def measure(row):
        nonlocal largest
        largest = max(largest, size(tmp_path))

    run_trial(config, tmp_path, device="cpu", on_evaluation=measure)
    data = load(config.dataset)
    parameters = parameter_count(build(classes=10, side=8, channels=1, arch="wrn", filters=32, repeat=1, scales=2))
    complete, running = plan.disk(config, parameters, data.classes)
    assert size(tmp_path) == pytest.approx(complete, rel=0.1)
    assert 0.6 * running < largest <= running  # the checkpoint that is being written is not there at an evaluation


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_sweep_is_planned_without_torch(tiny):
    """It takes seconds to import, which a mistake in the file should not cost; trials have processes of their own."""
    code = """
import pathlib
import sys
from cissl.tuning import plan, sweep, sweep_file
file = sweep_file.load(pathlib.Path(sys.argv[1]))
plan.check_networks(file, plan.check_data(file, None))
print([name for name in ("torch", "torchvision") if name in sys.modules])
"""
    planned = subprocess.run([sys.executable, "-c", code, tiny], capture_output=True, text=True)
    assert planned.stdout == "[]\n", planned.stderr


def test_a_searchs_dry_run_counts_all_of_its_trials(capsys):
    assert cli.main([str(ROOT / "sweeps" / "search_cadr.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "a search of 16 candidates" in out and "\n32 trials, 30720 steps;" in out


def test_a_sweep_that_nothing_has_begun_of_is_described():
    assert describe([], Path("nowhere")) == "no trial has begun"


@pytest.mark.parametrize(
    "error, by_ray, reason, file",
    [
        ("Traceback …\nValueError: x\n", b"", "ValueError: x", "status.json"),
        (None, b"Traceback\nActorDied: y\n", "ActorDied: y", "error.txt"),
        (None, b"caf\xe9\n", "caf\ufffd", "error.txt"),
        (None, b"\n", "its process ended without a message", "status.json"),
        (["x"], b"", "['x']", "status.json"),
    ],
)
def test_a_trials_failure_is_told_from_what_there_is(tmp_path, error, by_ray, reason, file):
    config = TrialConfig(dataset="digits.1@40-1")
    write_json(tmp_path / config.trial_id / "status.json", {"state": "failed", "step": 3, "error": error})
    (tmp_path / config.trial_id / "error.txt").write_bytes(by_ray)
    (report,) = failures([config], tmp_path)
    assert f"at step 3/{config.steps}: {reason}" in report and report.endswith(f"{config.trial_id}/{file}")


def test_a_dry_run_says_which_algorithms_take_a_setting_and_leaves_it_out_elsewhere(tmp_path, capsys):
    file = tmp_path / "s.yaml"
    file.write_text(
        "settings: {dataset: digits.1@40-1, train_kimg: 1, report_kimg: 0.5, uratio: 3}\n"
        "grid: {algorithm: [supervised, fixmatch, cadr], cai_beta: [0.3, 0.5]}\n"
    )
    assert cli.main([str(file), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "note: uratio is a setting of fixmatch, cadr alone" in out
    assert "note: cai_beta is a setting of cadr alone" in out
    assert "\n4 trials, " in out  # one supervised, one fixmatch, two cadr
    heading, supervised = out.splitlines()[0], next(line for line in out.splitlines() if line.startswith("supervised"))
    assert "cai_beta" in heading and "uratio" not in heading and "–" in supervised
