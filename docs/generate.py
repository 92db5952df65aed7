"""Write the reference pages that come from the code: ``python docs/generate.py``. `make docs` calls it.

The pages come from the settings, the methods' cards, the help of the commands, the docstrings that describe files,
and executed notebooks.
"""

import contextlib
import importlib
import inspect
import io
import json
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field
from functools import partial
from pathlib import Path
from unittest import mock

from cissl.algorithms.cards import ADD_ON, BASE, Card, built_in
from cissl.config import core_fields
from cissl.datasets.catalog import KNOWN
from cissl.tuning import shipped, sweep_file

FOLDER = Path(__file__).parent / "reference" / "generated"
NOTEBOOKS = Path(__file__).parent / "how_to"
COMMANDS = {  # console script → its module, and the subcommands that have a help of their own
    "cissl-sweep": ("cissl.tuning.cli", ()),
    "cissl-train": ("cissl.train", ()),
    "cissl-datasets": ("cissl.datasets.__main__", ("list", "prepare", "import", "inspect", "verify")),
    "cissl-predict": ("cissl.predict", ()),
    "cissl-tables": ("cissl.analysis.tables", ()),
    "cissl-statistics": ("cissl.analysis.significance", ()),
    "cissl-curves": ("cissl.analysis.curves", ()),
    "cissl-report": ("cissl.analysis.report", ()),
    "cissl-algorithms": ("cissl.algorithms.__main__", ()),
    "cissl-testing": ("cissl.testing.__main__", ()),
    "cissl-estimate": ("cissl.estimate", ()),
}
COLUMNS = "100"  # width of the help texts
LARGEST_SHOWN = 1e6  # of a setting's upper bounds


def settings() -> str:
    """The settings that every trial has."""
    return settings_table(core_fields())


def methods() -> str:
    """All methods: a table of bases and one of add-ons, and a section for each method."""
    parts = []
    cards = built_in().values()
    for kind, heading in ((BASE, "Whole methods"), (ADD_ON, "Add-ons")):
        group = sorted((card for card in cards if card.kind == kind), key=lambda card: card.name)
        rows = [(f"[{card.title}](#{anchor(card)})", f"`{card.name}`", card.paper, card.venue) for card in group]
        parts += [f"## {heading}", table(("method", "name", "paper", "where it appeared"), rows)]
        parts += [method(card) for card in group]
    return "\n\n".join(parts)


def method(card: Card) -> str:
    """One method: what it is, its settings, and what differs from its authors' program."""
    facts = [f"({anchor(card)})=\n### {card.title}", summary(card)]
    if card.paper:
        facts.append(f"{card.paper}. {card.venue}.")
    if card.slots:
        facts.append("Add-ons may act at: " + ", ".join(f"`{slot}`" for slot in card.slots) + ".")
    if card.fills:
        needs = "".join(f" It needs [{built_in()[name].title}](#{anchor(built_in()[name])})." for name in card.needs)
        facts.append("It acts at: " + ", ".join(f"`{slot}`" for slot in card.fills) + "." + needs)
    facts.append(settings_table(card.fields) if card.fields else "It has no settings of its own.")
    if card.differs:
        facts.append(f"**What differs from its authors' program.** {escaped(card.differs)}")
    return "\n\n".join(facts)


def anchor(card: Card) -> str:
    """The anchor of a method's section, for links."""
    return "method-" + card.name.replace("+", "-plus").replace("_", "-")


def summary(card: Card) -> str:
    """The first paragraph of the docstring of a method's class."""
    module, _, name = card.method.partition(":")
    doc = inspect.getdoc(getattr(importlib.import_module(module), name)) or ""
    return escaped(" ".join(doc.partition("\n\n")[0].split()))


def commands() -> str:
    """The help of every command."""
    parts = []
    for name, (module, subcommands) in COMMANDS.items():
        parts += [f"## {name}", f"The same as `{longhand(name, module)}`.", help_text(name, module)]
        for subcommand in subcommands:
            parts += [f"### {name} {subcommand}", help_text(name, module, subcommand)]
    return "\n\n".join(parts)


def longhand(name: str, module: str) -> str:
    """The command in a checkout, where it is not installed as a script."""
    if name == "cissl-sweep":
        return "python sweeps/run.py"
    if module.startswith("cissl.analysis."):
        return f"python analysis/{name.removeprefix('cissl-')}.py"
    return f"python -m {module.removesuffix('.__main__')}"


def help_text(name: str, module: str, *words: str) -> str:
    """The text that a command prints with ``--help``, as a block."""
    shown = io.StringIO()
    main = importlib.import_module(module).main
    with (
        mock.patch.dict(os.environ, {"COLUMNS": COLUMNS}),
        mock.patch("sys.argv", [name]),
        contextlib.redirect_stdout(shown),
        contextlib.suppress(SystemExit),
    ):
        main([*words, "--help"])
    return f"```text\n{shown.getvalue().rstrip()}\n```"


def sweep_files() -> str:
    """The grammar of a sweep file, from the docstring of its module, and the shipped files."""
    _, _, grammar = inspect.getdoc(sweep_file).partition("\n\n")
    yaml, _, prose = grammar.rpartition("\n\n")
    parts = [f"```yaml\n{yaml}\n```", escaped(" ".join(prose.split())), "## The shipped sweeps"]
    for name in shipped.names():
        text = (shipped.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        parts += [f"### {name}", f"```yaml\n{text.rstrip()}\n```"]
    return "\n\n".join(parts)


def records() -> str:
    """The files of a trial's folder, from the docstring of their module."""
    from cissl.training import records

    _, files, prose = inspect.getdoc(records).split("\n\n", 2)
    return f"```text\n{textwrap.dedent(files)}\n```\n\n{escaped(prose)}"


def datasets() -> str:
    """The data sets that are known by name."""
    rows = []
    for known in KNOWN.values():
        weak = " + ".join(filter(None, ["mirror" * known.mirror, f"shift by {known.shift}" if known.shift else ""]))
        where = "comes with scikit-learn" if known.embedded else "download" if known.downloads else "`--from` only"
        size = f"{known.side} × {known.side}"
        rows.append(
            (f"`{known.name}`", known.title, known.classes, size, known.train, known.unlabeled, known.test, weak, where)
        )
    heading = ("name", "title", "classes", "pixels", "training", "unlabeled besides", "test", "weak view", "source")
    return table(heading, rows)


def settings_table(fields: Mapping[str, Field]) -> str:
    """Key, default, meaning, symbol and limits of some settings."""
    rows = [
        (f"`{key}`", default(field), escaped(field.metadata["help"]), field.metadata["symbol"], limits(field.metadata))
        for key, field in fields.items()
    ]
    return table(("setting", "default", "meaning", "symbol", "allowed"), rows)


def default(field: Field) -> str:
    """The default of a setting, as in YAML."""
    if field.default is None:
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def limits(metadata: Mapping) -> str:
    """The values that a setting may have, in words. A bound that only keeps numbers computable is left out."""
    words = [", ".join(f"`{choice}`" for choice in metadata["choices"])]
    low, high = metadata["at_least"], metadata["at_most"]
    high = None if high is None or high > LARGEST_SHOWN else high
    if low is not None and high is not None:
        words.append(f"{low} to {high}")
    else:
        bounds = ((">", metadata["above"]), ("≥", low), ("≤", high))
        words += [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
    if metadata["or_plugin"]:
        words.append("`file.py:Name`")
    return ", ".join(filter(None, words))


def notebook(name: str) -> str:
    """An executed notebook: its text, its code, and what the code showed."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += map(shown, cell.get("outputs", ()))
    return "\n\n".join(parts)


def shown(output: Mapping) -> str:
    """One output of a notebook's cell, in the richest of its forms."""
    forms = {form: "".join(text) for form, text in output.get("data", {"text/plain": output.get("text", "")}).items()}
    if "image/png" in forms:
        forms["text/html"] = f'<img alt="figure" src="data:image/png;base64,{forms["image/png"].strip()}">'
    if "text/html" in forms:
        return f"```{{raw}} html\n{forms['text/html'].strip()}\n```"
    return f"```text\n{forms['text/plain'].rstrip()}\n```"


def table(heading: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [list(heading)]
    lines += [["---"] * len(lines[0]), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escaped(text: str) -> str:
    """Text in which Markdown shows every character as it is, except code in backticks."""
    text = text.replace("``", "`")
    parts = text.split("`")
    for at in range(0, len(parts), 2):
        for character in "\\*_<>[]#$":
            parts[at] = parts[at].replace(character, f"\\{character}")
    return "`".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "methods": methods,
    "commands": commands,
    "sweep_files": sweep_files,
    "records": records,
    "datasets": datasets,
    "results_notebook": partial(notebook, "results"),
    "own_method_notebook": partial(notebook, "own_method"),
}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / f"{name}.md").write_text(page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
