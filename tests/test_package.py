"""What `pip install cissl-….whl` gives a person in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("cissl", "sweeps", "README.md", "LICENSE", "setup.cfg", "pyproject.toml")
COMMANDS = {
    *(
        "cissl-train",
        "cissl-sweep",
        "cissl-datasets",
        "cissl-algorithms",
        "cissl-testing",
        "cissl-estimate",
        "cissl-predict",
    ),
    *("cissl-predict", "cissl-tables", "cissl-curves", "cissl-report", "cissl-statistics"),
}


def pip(*words):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the built wheel's content; what cissl depends on is taken from the environment of the tests."""
    pytest.importorskip("setuptools", minversion="77", reason="building a wheel needs setuptools")
    folder = tmp_path_factory.mktemp("package")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name, **({"symlinks": True} if (ROOT / name).is_dir() else {}))
    offline = ("--no-deps", "--no-index")
    pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    pip("install", *offline, "--target", folder / "installed", next(folder.glob("cissl-*.whl")))
    return folder / "installed"


def run(installed, folder, *command):
    """Run a command in a folder that is its home, with the installed package's commands first."""
    programs = os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PYTHONPATH": str(installed), "PATH": programs, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "ML_DATA"} | own
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_commands_and_the_sweep_files_are_installed(installed):
    assert {path.name for path in (installed / "bin").glob("cissl-*")} == COMMANDS
    sweeps = {path.name: path.read_text() for path in (ROOT / "sweeps").glob("*.yaml")}
    assert {path.name: path.read_text() for path in (installed / "cissl" / "sweeps").iterdir()} == sweeps


def test_a_shipped_sweep_and_its_table_in_an_empty_folder(installed, tmp_path):
    sweep = run(installed, tmp_path, "cissl-sweep", "digits_lt", "--smoke", "--set", "concurrency=1")
    assert sweep.returncode == 0, sweep.stderr
    table = run(installed, tmp_path, "cissl-tables", "ray_results/digits_lt-smoke")
    assert table.returncode == 0, table.stderr
    assert [line.split("|")[1].strip() for line in table.stdout.splitlines() if line.startswith("|")][2:5] == [
        "Supervised",
        "FixMatch",
        "+ CADR",
    ]
    records = next((tmp_path / "ray_results" / "digits_lt-smoke").glob("cadr-*")) / "provenance.json"
    assert str(ROOT) not in records.read_text()  # the installed package ran, not the checkout


def test_the_tutorial_as_it_is_written(installed, tmp_path):
    """Every file that the page says to save is saved, every command is run, in the order of the page."""
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"(?:Save (?:it|this) as `([^`]+)`[^`]*?\n\n)?```(python|yaml|bash)\n(.*?)```", page, flags=re.S
    )
    assert [kind for _, kind, _ in blocks].count("bash") == 6
    script = ["set -e"]
    for name, kind, code in blocks:
        if kind == "bash":
            script.append(code)
        else:
            (tmp_path / name).write_text(code)
    done = run(installed, tmp_path, "bash", "-c", "\n".join(script))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total        1347         450" in done.stdout  # of the import
    labeled = re.findall(r"^([09])  +(\d+)  +\d+  +\d+  +\d+$", done.stdout, flags=re.M)
    assert labeled == [("0", "20"), ("9", "2")]  # of the split
    assert "2 trials, 128 steps" in done.stdout and "2 of 2 trials complete." in done.stdout
    assert "| + CADR " in done.stdout and "FixMatch" in (tmp_path / "table.tex").read_text()
