"""The four commands as people call them: what they accept, what they refuse, what they need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cissl.analysis import curves, report, significance, tables
from cissl.analysis.results import load
from cissl.errors import UserError
from tests.analysis.synthetic_records import write_trial

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"tables": tables, "curves": curves, "report": report, "statistics": significance}


def alone(name, *arguments):
    """Run a command where matplotlib and SciPy are not installed."""
    code = (
        "import sys; sys.modules.update(matplotlib=None, scipy=None);"
        f"from {COMMANDS[name].__name__} import main; sys.exit(main({[str(a) for a in arguments]!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_neither_matplotlib_nor_scipy(name):
    shown = alone(name, "--help")
    assert shown.returncode == 0 and "RESULTS" in shown.stdout, shown.stderr


@pytest.mark.parametrize(("name", "package"), [("curves", "matplotlib"), ("report", "SciPy"), ("statistics", "SciPy")])
def test_a_missing_package_is_named_with_the_mend(tmp_path, name, package):
    write_trial(tmp_path)
    done = alone(name, tmp_path, "--out", tmp_path / "out" / "x.html" if name == "report" else tmp_path / "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert package.lower() in done.stderr and '".[analysis]"' in done.stderr


def test_figures_do_not_depend_on_the_backend_of_a_notebook_around_them(tmp_path):
    write_trial(tmp_path)
    done = subprocess.run(
        [sys.executable, ROOT / "analysis" / "curves.py", tmp_path, "--kind", "training", "--out", tmp_path / "out"],
        env=os.environ | {"MPLBACKEND": "nonsense"}, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and len(list((tmp_path / "out").iterdir())) == 2, done.stderr


def test_tables_need_no_optional_package(tmp_path):
    write_trial(tmp_path)
    assert alone("tables", tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("name", "suffix", "begin"),
    [
        ("tables", "TEX", "\\providecommand{\\fitted}"),
        ("tables", "Csv", "metric,"),
        ("tables", "HTML", "<figure"),
        ("tables", "md", "| Accuracy"),
        ("statistics", "CSV", "kind,"),
        ("statistics", "md", "Accuracy"),
        ("report", "HTML", "<!doctype html>"),
    ],
)
def test_the_suffix_of_out_decides_the_format(tmp_path, name, suffix, begin):
    write_trial(tmp_path / "s")
    out = tmp_path / "new" / f"t.{suffix}"
    assert COMMANDS[name].main([str(tmp_path / "s"), "--out", str(out)]) == 0
    assert out.read_text().startswith(begin)


@pytest.mark.parametrize(
    ("name", "out"), [("tables", "t.xlsx"), ("statistics", "t.tex"), ("report", "t.pdf"), ("curves", "t.PDF")]
)
def test_a_suffix_that_stands_for_another_format_is_refused(tmp_path, capsys, name, out):
    write_trial(tmp_path / "s")
    assert COMMANDS[name].main([str(tmp_path / "s"), "--out", str(tmp_path / out)]) == 2
    assert out in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_a_named_format_needs_no_suffix(tmp_path):
    write_trial(tmp_path / "s")
    assert tables.main([str(tmp_path / "s"), "--out", str(tmp_path / "t.txt"), "--format", "latex"]) == 0
    assert (tmp_path / "t.txt").read_text().startswith("\\providecommand{\\fitted}")


@pytest.mark.parametrize("rows", ["method, lr", " method ,lr", "method,lr"])
def test_blanks_between_settings_are_fine(tmp_path, capsys, rows):
    write_trial(tmp_path, lr=0.01)
    assert tables.main([str(tmp_path), "--rows", rows, "--columns", "data, γ, size,valid"]) == 0
    assert "FixMatch, lr = 0.01" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--rows", ""], ["--rows", "method,,lr"], ["--out", "~nobody-here/t.md"], ["--label", "a{"], ["--label", " "]],
)
def test_arguments_without_meaning_are_refused(tmp_path, arguments, capsys):
    write_trial(tmp_path)
    with pytest.raises(SystemExit) as end:
        tables.main([str(tmp_path), *arguments])
    assert end.value.code == 2 and arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("title, row", [("Ours\n|\tfast", r"Ours \| fast"), (" \n", "Ours")])
def test_a_row_is_one_line_whatever_the_recorded_title(tmp_path, capsys, title, row):
    path = write_trial(tmp_path) / "config.json"
    text = path.read_text().replace('"fixmatch"', '"ours.py:Ours"')
    path.write_text(json.dumps({**json.loads(text), "title": title}))
    assert tables.main([str(tmp_path), "--metric", "accuracy"]) == 0
    assert f"\n| {row} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("root", "message"),
    [("", "empty"), ("~nobody-here/x", "no such user"), ("s3:/bucket/x", "two slashes"), (__file__, "is a file")],
)
def test_results_that_are_no_folder_are_refused(root, message):
    with pytest.raises(UserError, match=message):
        load([root])


def test_links_that_lead_back_end_nothing(tmp_path):
    path = write_trial(tmp_path / "sweep")
    for k in range(3):
        (tmp_path / f"a{k}").symlink_to(".")
        (tmp_path / "sweep" / f"up{k}").symlink_to("..")
    (tmp_path / "nowhere").symlink_to("nowhere")
    (path / "checkpoints").mkdir()
    records = load([tmp_path])
    assert [trial.folder for trial in records.trials] == [str(path)] and records.problems == []


def test_a_link_makes_no_result_of_a_smoke_test(tmp_path):
    write_trial(tmp_path / "night-smoke")
    write_trial(tmp_path / "night", seed=2)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "latest").symlink_to(tmp_path / "night-smoke")
    assert [trial.config["seed"] for trial in load([tmp_path]).trials] == [2]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    write_trial(tmp_path / "open")
    write_trial(tmp_path / "closed", seed=2)
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    records = load([tmp_path])
    assert len(records.trials) == 1
    assert [str(problem) for problem in records.problems] == [
        f"{tmp_path / 'closed'}: cannot be listed: Permission denied"
    ]


def test_a_pipe_in_place_of_a_record_hangs_nothing(tmp_path):
    path = write_trial(tmp_path)
    (path / "status.json").unlink()
    os.mkfifo(path / "status.json")
    (problem,) = load([tmp_path]).problems
    assert "status.json is no file" in str(problem)


def test_figures_of_unlike_names_get_files_of_their_own(tmp_path):
    for name in ("own-set", "own_set", "x" * 300):
        write_trial(tmp_path / "s", dataset=f"{name}_LT_20.1@20-100", folder=name[:9])
    out = tmp_path / "figures"
    assert curves.main([str(tmp_path / "s"), "--out", str(out), "--kind", "training", "--format", "svg"]) == 0
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize("name", COMMANDS)
def test_where_cissl_is_not_installed_the_mend_is_said(name):
    script = ROOT / "analysis" / f"{name}.py"
    done = subprocess.run([sys.executable, "-I", "-S", script], capture_output=True, text=True)  # no site-packages
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install" in done.stderr
