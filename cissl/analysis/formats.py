"""Writes a table as Markdown, CSV or HTML; `latex` writes it as LaTeX."""

import csv
import html
import io
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cissl.analysis.values import Value, Values

PLACEHOLDER = "–"


@dataclass(frozen=True)
class Entry:
    """What one cell of a table shows.

    Attributes:
        mean: in percent; NaN where there is no figure.
        std: sample standard deviation in percentage points; NaN where it is not known.
        n: number of trials that the mean is over.
        total: number of trials of the cell, complete or not.
        text: a remark behind the number, such as ``(2/3)``.
        marks: marks of footnotes, separated by commas.
        best: whether the number is bold.
        difference: ours minus this published figure, in percentage points; NaN where there is none.
    """

    mean: float = np.nan
    std: float = np.nan
    n: int = 0
    total: int = 0
    text: str = ""
    marks: str = ""
    best: bool = False
    difference: float = np.nan

    @property
    def number(self) -> str:
        """``75.12 ± 0.34``, or a dash where there is no figure."""
        if np.isnan(self.mean):
            return PLACEHOLDER
        return f"{self.mean:.2f}" + ("" if np.isnan(self.std) else f" ± {self.std:.2f}")

    @property
    def suffix(self) -> str:
        """What stands behind the number: the difference from a published figure, and the remark."""
        delta = "" if np.isnan(self.difference) else f"({self.difference:+.2f})".replace("-", "−")
        return " ".join(part for part in (delta, self.text) if part)


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
        label: what the row is called.
        entries: one for each column.
        identity: column → value of the CSV file that identifies the row.
    """

    label: str
    entries: list[Entry]
    identity: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table, ready to be written in any format.

    Attributes:
        title: what stands above the labels of the rows.
        caption: the sentences below the table.
        headings: (data set, setting) of each column.
        sections: groups of rows that a rule separates: our rows, then published ones.
        notes: further sentences below the table.
        footnotes: (mark, text) of each footnote.
        label: the name by which LaTeX refers to the table.
        columns: by column, what identifies it in the CSV file.
    """

    title: str
    caption: str
    headings: list[tuple[str, str]]
    sections: list[list[Line]]
    notes: list[str]
    footnotes: list[tuple[str, str]]
    label: str = "tab:results"
    columns: list[Values] = field(default_factory=list)


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, with aligned columns, so that a terminal shows it well too."""
    heading = [table.title, *(" ".join(part for part in pair if part) for pair in table.headings)]
    body = [[line.label, *map(_markdown_entry, line.entries)] for section in table.sections for line in section]
    errors = [text.replace("<", "\\<") for _, text in table.footnotes]  # <class 'int'> is no tag
    notes = [*table.notes, *(f"({mark}) {text}" for (mark, _), text in zip(table.footnotes, errors, strict=True))]
    items = [textwrap.fill(note, 100, initial_indent="- ", subsequent_indent="  ") for note in notes]
    return "\n".join([aligned([heading, *body]), "", textwrap.fill(table.caption, 100), "", *items]) + "\n"


def aligned(lines: list[list[str]], left: tuple[int, ...] = (0,)) -> str:
    """A Markdown table with aligned columns.

    Args:
        lines: rows of texts; the first one is the heading.
        left: the columns that are flush left; the others are flush right.
    """
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    widths = [max(_width(line[k]) for line in lines) for k in range(len(lines[0]))]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if k in left else ":") for k, w in enumerate(widths)) + "|"
    padded = [[_pad(text, widths[k], k not in left) for k, text in enumerate(line)] for line in lines]
    rows = ["| " + " | ".join(line) + " |" for line in padded]
    return "\n".join([rows[0], rule, *rows[1:]])


def _markdown_entry(entry: Entry) -> str:
    number = f"**{entry.number}**" if entry.best else entry.number
    marks = f"({entry.marks})" if entry.marks else ""
    return " ".join(part for part in (number, entry.suffix, marks) if part)


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 1 for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def as_csv(tables: list[Table]) -> str:
    """The tables as CSV: one line for each cell, with numbers that are not rounded."""
    lines = []
    for table in tables:
        notes = dict(table.footnotes)
        for section in table.sections:
            for line in section:
                for entry, column in zip(line.entries, table.columns, strict=True):
                    if entry.n or entry.total or not np.isnan(entry.mean):
                        lines.append({**line.identity, **column, **_csv_entry(entry, notes)})
    names = list(dict.fromkeys(name for line in lines for name in line))
    output = io.StringIO()
    writer = csv.DictWriter(output, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return output.getvalue()


def _csv_entry(entry: Entry, notes: dict[str, str]) -> Values:
    return {
        "mean": _exact(entry.mean),
        "std": _exact(entry.std),
        "n": entry.n or "",
        "trials": entry.total or "",
        "difference": _exact(entry.difference),
        "note": " ".join(notes[mark] for mark in entry.marks.split(",") if mark),
    }


def _exact(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def as_html(table: Table) -> str:
    """The table as ``<table>``, with its caption and notes; the page around it has the style sheet."""
    heads = "".join(f"<th>{html.escape(' '.join(p for p in pair if p))}</th>" for pair in table.headings)
    bodies = []
    for section in table.sections:
        bodies.append(f"<tbody>{''.join(map(_html_row, section))}</tbody>")
    notes = [html.escape(note) for note in (table.caption, *table.notes)]
    notes += [f"<sup>{mark}</sup> {html.escape(text)}" for mark, text in table.footnotes]
    return (
        f'<figure class="table"><table><thead><tr><th>{html.escape(table.title)}</th>{heads}</tr></thead>'
        f"{''.join(bodies)}</table>"
        f"<figcaption>{''.join(f'<p>{note}</p>' for note in notes)}</figcaption></figure>\n"
    )


def _html_row(line: Line) -> str:
    return f'<tr><th scope="row">{html.escape(line.label)}</th>{"".join(map(_html_entry, line.entries))}</tr>'


def _html_entry(entry: Entry) -> str:
    number = f"<strong>{entry.number}</strong>" if entry.best else entry.number
    suffix = f" <small>{html.escape(entry.suffix)}</small>" if entry.suffix else ""
    marks = f"<sup>{entry.marks}</sup>" if entry.marks else ""
    return f"<td>{number}{suffix}{marks}</td>"


SPELLED = {"γ": "gamma", "ᵤ": "-unlabeled", "₁": "1", "β": "beta", "μ": "mu", "τ": "tau", "λ": "lambda"}
LONGEST_NAME = 100  # characters; file systems take 255 bytes, and a suffix follows


def slug(text: str) -> str:
    """Text for the name of a file or a label: ``CIFAR-10 γ = 20`` becomes ``cifar-10-gamma-20``."""
    spelled = "".join(SPELLED.get(c, c) for c in text.lower())
    return re.sub(r"[^a-z0-9.]+", "-", spelled).strip("-")[:LONGEST_NAME].strip("-")


class FileNames:
    """Gives each file a name of its own, even where different texts have the same slug."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, text: str) -> str:
        """The slug of a text, with a number behind it if the slug was given before."""
        first = slug(text)
        numbered = (f"{first}-{k}" for k in itertools.count(2))
        name = next(name for name in itertools.chain([first], numbered) if name not in self._given)
        self._given.add(name)
        return name
