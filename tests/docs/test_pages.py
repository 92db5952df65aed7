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


def test_the_notebooks_code_runs(monkeypatch, capsys):
    page = (DOCS / "how_to" / "notebook.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.S):
        exec(block.replace("~/ray_results/digits_lt", str(GOLDEN)), names)
    assert names["records"].problems == [] and len(names["trials"]) == 6
    assert names["last"].between(0, 100).all() and names["recall"].shape == (10,)
    assert names["priors"].shape == (len(names["records"].trials[0].history["step"]), 10)
