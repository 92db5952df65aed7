"""Every sweep file in the box can be read, says what it is for, and is what its header says."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cissl.analysis import published_figures
from cissl.analysis.split_parts import split_parts
from cissl.tuning import cli, sweep_file

SWEEPS = Path(__file__).parents[2] / "sweeps"
TRIALS = {
    "cifar10_small_lt": 72,
    "ablation": 15,
    "cifar10": 18,
    "cifar10_crest": 105,
    "cifar10_darp": 336,
    "cifar10_simpro": 360,
    "cifar100_darp": 99,
    "cifar100_simpro": 75,
    "cifar100_lt": 90,
    "cifar10_lt": 99,
    "digits_lt": 18,
    "methods_digits": 222,
    "miniimagenet_lt": 48,
    "search_cadr": None,
    "stl10_lt": 12,
}


def test_all_are_known():
    assert {path.stem for path in SWEEPS.glob("*.yaml")} == TRIALS.keys()


@pytest.mark.parametrize("name", TRIALS)
def test_dry_run_shows_the_trials_and_starts_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ML_DATA", str(tmp_path))
    path = SWEEPS / f"{name}.yaml"
    assert cli.main([os.fspath(path), "--dry-run", "--storage-path", os.fspath(tmp_path / "results")]) == 0
    sweep, out = sweep_file.load(path), capsys.readouterr().out
    for config in sweep.trials:
        assert config.dataset in out
    assert TRIALS[name] is None or f"\n{TRIALS[name]} trials, " in out
    assert ("not prepared: " in out) == (sweep.trials[0].spec.name != "digits")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", TRIALS)
def test_the_header_says_what_it_takes_and_what_came_out(name):
    header = [line for line in (SWEEPS / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
    assert {"# Needs", "# Takes", "# Came out"} <= {line[:10].rstrip() for line in header}


@pytest.mark.parametrize("name", [name for name in TRIALS if name.endswith(("_crest", "_darp", "_simpro"))])
def test_the_other_protocols_have_the_budget_of_the_papers_tables(name):
    for config in sweep_file.load(SWEEPS / f"{name}.yaml").trials:
        assert (config.batch, config.lr, config.wd, config.filters) == (64, 0.03, 5e-4, 32)
        assert (config.steps, config.report_steps, config.augment) == (131_072, 1_024, "d.d.d")
        if config.recipe.base.unlabeled:
            assert config.uratio == 7


@pytest.mark.parametrize("name", [name for name in TRIALS if name.endswith(("_crest", "_darp", "_simpro"))])
def test_published_figures_are_on_file_for_every_column_of_the_other_protocols(name):
    figures = csv.DictReader(published_figures.FIGURES.read_text(encoding="utf-8").splitlines())
    on_file = {(figure["dataset"], figure["setting"], figure["unlabeled"]) for figure in figures}
    for config in sweep_file.load(SWEEPS / f"{name}.yaml").trials:
        split = split_parts(config.dataset)
        setting = f"LT_{split['imbalance_ratio']:g}@{split['size']}"
        assert (split["name"], setting, split["unlabeled"]) in on_file


@pytest.mark.parametrize("name", ["cifar10_lt", "cifar100_lt", "stl10_lt", "miniimagenet_lt", "cifar10", "ablation"])
def test_paper_tables_have_the_protocols_settings(name):
    for config in sweep_file.load(SWEEPS / f"{name}.yaml").trials:
        settings = config.to_dict()
        assert (config.batch, config.lr) == (64, 0.03)
        assert (settings["uratio"], settings["confidence"], settings["wu"]) == (7, 0.95, 1)
        assert (config.steps, config.report_steps, config.augment) == (131_072, 1_024, "d.d.d")
        assert (settings["cap_ema_momentum"], settings["upper"], settings["cai_beta"]) == (0.99, 5.0, 0.5)
        of_100_classes = 1.5e-3 if config.algorithm == "cadr" else 1e-3
        assert config.wd == (of_100_classes if name == "cifar100_lt" else 5e-4)


def test_the_script_runs_from_anywhere(tmp_path):
    command = [sys.executable, SWEEPS / "run.py", SWEEPS / "digits_lt.yaml", "--dry-run"]
    environment = os.environ | {"PYTHONPATH": str(SWEEPS.parent)}
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert process.returncode == 0 and "18 trials" in process.stdout and process.stderr == ""


def test_the_script_answers_a_mistake_without_a_traceback(tmp_path):
    (tmp_path / "bad.yaml").write_text("settings:\n  batsh: 3\n")
    environment = os.environ | {"PYTHONPATH": str(SWEEPS.parent)}
    process = subprocess.run(
        [sys.executable, SWEEPS / "run.py", "bad.yaml"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert process.returncode == 2
    assert process.stderr == "bad.yaml:2: 'batsh: 3': unknown setting 'batsh'; did you mean 'batch'?\n"
