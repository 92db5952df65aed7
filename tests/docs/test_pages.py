"""The pages of the documentation: links, code that can be run, and what is generated from the code."""

import importlib.util
import json
import re
import runpy
from pathlib import Path

import pytest

from cissl.algorithms.cards import built_in
from cissl.analysis.history import SCALARS, VECTORS
from cissl.config import core_fields

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GOLDEN = ROOT / "tests" / "analysis" / "golden" / "tiny_lt"
READ_ON_DISK = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", READ_ON_DISK, ids=lambda page: page.name)
def test_links_of_a_page_that_is_read_in_the_repository_lead_to_files(page):
    """Sphinx checks the links of the other pages."""
    links = [one or other for one, other in LINK.findall(page.read_text(encoding="utf-8"))]
    missing = [link for link in links if "://" not in link and not (ROOT / link.partition("#")[0]).exists()]
    assert links and not missing


def test_the_readme_can_be_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_every_setting_and_every_method_has_a_place(generate):
    settings, methods = generate.settings(), generate.methods()
    assert all(f"| `{key}` |" in settings for key in core_fields())
    for card in built_in().values():
        assert f"({generate.anchor(card)})=\n### {card.title}\n" in methods
        section = methods.partition(f"({generate.anchor(card)})=")[2].partition("\n(method-")[0]
        assert all(f"| `{key}` |" in section for key in card.fields)


def test_every_command_shows_its_help(generate):
    commands = generate.commands()
    assert commands.count("```text\nusage: ") == len(generate.COMMANDS) + sum(
        len(subcommands) for _, subcommands in generate.COMMANDS.values()
    )
    assert "--storage-path" in commands and "--unofficial" in commands


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # the module is already known by another name
@pytest.mark.parametrize("module", ["train", "datasets", "algorithms", "testing", "estimate", "predict"])
def test_every_module_that_is_called_by_name_runs(module, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["python -m", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"cissl.{module}", run_name="__main__")
    assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


def test_every_column_of_the_records_is_described():
    page = (DOCS / "reference" / "records.md").read_text(encoding="utf-8")
    rows = [line for file in GOLDEN.glob("*/history.jsonl") for line in file.read_text().splitlines()]
    columns = {name for row in rows for name in json.loads(row)} | {*SCALARS, *(v.partition(".")[0] for v in VECTORS)}
    described = set(re.findall(r"`(\w+)`", page))
    assert columns - described == set()


@pytest.mark.parametrize("name", ["results", "own_method"])
def test_a_notebook_is_executed_and_shown(generate, name):
    cells = [cell for cell in read_notebook(name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs and not [output for output in outputs if output["output_type"] == "error"]
    page = generate.notebook(name)
    assert all("".join(cell["source"]) in page for cell in cells)
    assert page.count('src="data:image/png;base64,') == sum("image/png" in output.get("data", {}) for output in outputs)
    assert "<table" in page


def test_the_notebook_of_a_method_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    code = ["".join(cell["source"]) for cell in read_notebook("own_method") if cell["cell_type"] == "code"]
    shorter = {
        '"resumption", "settings"': '"training"',
        "kimg, seeds = 4, (1, 2, 3)": "kimg, seeds = 0.0625, (1,)",
        "kimg / 20": "kimg / 2",
        "--filters 16": "--filters 4",
    }
    names = {}
    for cell in code:
        for long, short in shorter.items():
            cell = cell.replace(long, short)
        exec(cell, names)
    assert not [long for long in shorter if not any(long in cell for cell in code)]
    page = (DOCS / "how_to" / "own_method.md").read_text(encoding="utf-8")
    assert f"```python\n{(tmp_path / 'soft.py').read_text()}```" in page
    assert "soft.py:SoftFixMatch: training " in capsys.readouterr().out
    assert {trial.state for trial in names["records"].trials} == {"complete"} and len(names["pairs"]) == 1
    (line,) = names["axes"].lines
    assert len(line.get_ydata()) == 2


def read_notebook(name):
    return json.loads((DOCS / "how_to" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def test_the_notebooks_code_runs(monkeypatch, capsys):
    page = (DOCS / "how_to" / "notebook.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.S):
        exec(block.replace("~/ray_results/digits_lt", str(GOLDEN)), names)
    assert names["records"].problems == [] and len(names["trials"]) == 6
    assert names["last"].between(0, 100).all() and names["recall"].shape == (10,)
    assert names["priors"].shape == (len(names["records"].trials[0].history["step"]), 10)


def test_the_tables_of_the_results_are_those_of_the_records(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = runpy.run_path(str(DOCS / "write_results.py"))
    page = names["PAGE"].read_text(encoding="utf-8")
    assert names["BLOCK"].search(page) and names["written"](page) == page
    for folder in (ROOT / "results").iterdir():
        assert folder.is_file() or f"-- cissl-tables results/{folder.name} " in page
