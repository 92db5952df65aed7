"""Whatever is damaged in the records: no traceback, no hang, and what is left is still shown."""

import shutil

import pytest

from cissl.analysis import curves, report, significance, tables
from tests.analysis.damage import damage
from tests.analysis.synthetic_records import write_grid_and_search


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A grid and a search."""
    return write_grid_and_search(tmp_path_factory.mktemp("whole"))


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
