"""Whatever is damaged in the records: no traceback, no hang, and what is left is still shown."""

import shutil

import pytest

from cissl.analysis import curves, report, significance, tables
from tests.analysis.damage import damage
from tests.analysis.synthetic_records import write_candidates, write_sweep, write_trial


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A grid and a search."""
    root = tmp_path_factory.mktemp("whole")
    for algorithm in ("supervised", "fixmatch", "cadr"):
        for seed in (1, 2):
            dataset = f"digits_LT_20.{seed}@20-100"
            write_trial(root / "grid", dataset=dataset, algorithm=algorithm, seed=seed, series=[50.0, 60.0, 70.0])
    write_trial(root / "grid", algorithm="cap", state="running", rows=2)
    write_sweep(root / "grid", ["fixmatch-digits_LT_20-s3-01234567"], grid={"seed": [1, 2]})
    trials = [write_trial(root / "search", lr=lr, seed=seed, series=[50.0] * 3) for lr in (0.1, 0.2) for seed in (1, 2)]
    write_sweep(root / "search", [], {"space": {"lr": {"choice": [0.1, 0.2]}}}, grid={"seed": [1, 2]})
    write_candidates(root / "search", ({"lr": 0.1}, trials[:2]), ({"lr": 0.2}, trials[2:]))
    return root


def attempt(whole, tmp_path, seed, commands):
    root = tmp_path / "results"
    shutil.copytree(whole, root)
    damaged = [str(path.relative_to(root)) for path in damage(root, seed)]
    codes = [command([str(root), *arguments]) for command, *arguments in commands]
    assert set(codes) <= {0, 1, 2}, damaged
    return codes, damaged


@pytest.mark.parametrize("seed", range(40))
def test_tables_of_damaged_records(whole, tmp_path, seed, capsys):
    form = ("markdown", "latex", "csv", "html")[seed % 4]
    select = ("last10", "validation-best", "test-oracle")[seed % 3]
    commands = [(tables.main, "--format", form, "--select", select, "--published"), (tables.main, "--search")]
    codes, damaged = attempt(whole, tmp_path, seed, [*commands, (significance.main,)])
    shown = capsys.readouterr()
    assert "FixMatch" in shown.out or 2 in codes
    if 1 in codes:
        assert "skipped" in shown.err
        assert any(path.split("/")[0] in shown.err for path in damaged)


@pytest.mark.parametrize("seed", range(1000, 1003))
def test_figures_and_report_of_damaged_records(whole, tmp_path, seed):
    out, page = str(tmp_path / "figures"), str(tmp_path / "r.html")
    attempt(whole, tmp_path, seed, [(curves.main, "--out", out, "--format", "svg"), (report.main, "--out", page)])
