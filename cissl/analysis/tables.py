"""Tables of a sweep: methods in rows, data settings in columns, mean ± std over seeds in the cells.

python analysis/tables.py ~/ray_results/digits_lt
python analysis/tables.py results_a results_b --metric gmean --format latex --out table.tex
"""

import argparse
import dataclasses
import itertools
import string
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from cissl.analysis import formats, labels, latex, published_figures
from cissl.analysis.cells import ROWS, SETTING, Cell, Grid, Position, build
from cissl.analysis.command_line import add_bold_argument, add_choice_arguments, finish, form, run
from cissl.analysis.formats import Entry, Line, Table
from cissl.analysis.results import Records, load
from cissl.analysis.search_tables import search_tables
from cissl.analysis.selection import METRICS, SELECTIONS
from cissl.analysis.words import first_names
from cissl.errors import UserError

METRIC_TITLES = {"accuracy": "Accuracy", "gmean": "Geometric mean"}
SUFFIXES = {".tex": "latex", ".md": "markdown", ".csv": "csv", ".html": "html"}


def table(
    records: Records,
    metric: str,
    select: str = "last10",
    rows: Sequence[str] = ROWS,
    columns: Sequence[str] = SETTING,
    published: bool = False,
    bold: str = "best",
) -> Table:
    """The table of one metric, ready to be written in any format.

    Args:
        metric: a key of `selection.METRICS`.
        select: a key of `selection.SELECTIONS`.
        rows, columns: see `cells.build`.
        published: whether published figures follow below ours.
        bold: what to mark, a key of `labels.BOLD`.

    Raises:
        UserError: see `cells.build`.
    """
    grid = build(records, metric, SELECTIONS[select], rows, columns)
    usual_n, marked = _usual_n(grid), _marked(grid, bold)
    ours, footnotes = _our_lines(grid, usual_n, marked)
    notes = labels.size_notes(grid.columns) + grid.notes
    theirs, sources = published_figures.beside(grid) if published else ([], [])
    return Table(
        title=METRIC_TITLES[metric],
        caption=labels.caption(grid, usual_n, labels.BOLD[bold] if marked else ""),
        headings=labels.column_headings(grid.columns),
        sections=[ours, theirs] if theirs else [ours],
        notes=notes + sources,
        footnotes=footnotes,
        label=f"tab:{formats.slug(f'{metric} {select}')}",
        columns=[dict(column) for column in grid.columns],
    )


def _usual_n(grid: Grid) -> int | None:
    """The commonest number of figures in a cell; None where no cell has any."""
    counts = Counter(cell.n for cell in grid.cells.values() if cell.n).most_common(1)
    return counts[0][0] if counts else None


def _our_lines(grid: Grid, usual_n: int | None, marked: set[Position]) -> tuple[list[Line], list[tuple[str, str]]]:
    """A line for each row of the grid, and the footnotes that these refer to."""
    footnotes: list[tuple[str, str]] = []
    lines = []
    for row in grid.rows:
        entries = []
        for column in grid.columns:
            cell = grid.cells.get((row, column))
            entries.append(_entry(cell, usual_n, (row, column) in marked, footnotes) if cell else Entry())
        identity = {"metric": grid.metric, "selection": grid.selection.name, "source": "this sweep"}
        lines.append(Line(labels.row_label(row), entries, {**identity, **dict(row)}))
    return lines, footnotes


def _marked(grid: Grid, bold: str) -> set[Position]:
    """The cells in bold."""
    if bold == "best":
        return grid.best()
    from cissl.analysis.comparison import indistinguishable  # here, since it alone needs SciPy

    return indistinguishable(grid)


def _marks() -> Iterator[str]:
    """Marks of footnotes: a, b, ..., z, aa, ab, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))


def _entry(cell: Cell, usual_n: int | None, best: bool, footnotes: list[tuple[str, str]]) -> Entry:
    """What a cell shows. A cell with missing trials adds a footnote, which has the next mark."""
    text, mark = "", ""
    if cell.incomplete:
        mark = next(itertools.islice(_marks(), len(footnotes), None))
        text = f"({cell.n}/{cell.total})"
        footnotes.append((mark, _left_out(cell)))
    elif cell.n != usual_n:
        text = f"(n = {cell.n})"
    return Entry(cell.mean, cell.std, cell.n, cell.total, text, mark, best)


def _left_out(cell: Cell) -> str:
    """Which trials have no figure, and why; the reason stands once for all trials that share it."""
    by_reason: dict[str, list[str]] = {}
    for trial, reason in cell.left_out:
        by_reason.setdefault(reason, []).append(trial.name)
    if cell.waiting:
        by_reason["not started"] = [first_names(cell.waiting)]
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())


def write(tables: list[Table], form: str, standalone: bool = False) -> str:
    """All tables as one text.

    Args:
        form: csv, html, latex or markdown.
        standalone: whether LaTeX is a whole document instead of a fragment.
    """
    if form == "csv":
        return formats.as_csv(tables)
    if form == "latex":
        return latex.standalone(tables) if standalone else "\n".join(map(latex.latex, tables))
    return "\n".join({"markdown": formats.markdown, "html": formats.as_html}[form](t) for t in tables)


LATEX_CODE = "{}\\%#~^&$"


def _label(text: str) -> str:
    if not text.strip() or set(text) & set(LATEX_CODE):
        raise argparse.ArgumentTypeError(f"'{text}' is no name of a LaTeX label; leave out {LATEX_CODE}")
    return text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Tables of a sweep, from its trials' records.", allow_abbrev=False)
    add_choice_arguments(made)
    made.add_argument("--metric", action="append", choices=METRICS, help="may be repeated [both, one after the other]")
    made.add_argument(
        "--published",
        action="store_true",
        help="add the published figures, with the difference (ours minus theirs)",
    )
    add_bold_argument(made)
    made.add_argument("--together", action="store_true", help="one table with all metrics side by side")
    made.add_argument("--caption", metavar="TEXT", help="in place of the table's own; what it notes follows")
    made.add_argument(
        "--label", type=_label, metavar="NAME", help="latex: in place of tab:…; with several tables, its beginning"
    )
    made.add_argument("--search", action="store_true", help="instead, the candidates of hyper-parameter searches")
    made.add_argument("--format", choices=sorted(SUFFIXES.values()), help="[by the suffix of --out, else markdown]")
    made.add_argument("--standalone", action="store_true", help="latex: a whole document instead of a fragment")
    return made


def write_tables(arguments: argparse.Namespace) -> int:
    """Show or write the tables; the exit code is 1 where a record could not be read.

    Raises:
        UserError: options contradict each other, or there is nothing to make a table of.
    """
    form_ = form(arguments, SUFFIXES)
    if arguments.standalone and form_ != "latex":
        raise UserError(f"--standalone makes a LaTeX document; it does not go with {form_}")
    if arguments.together and (arguments.search or arguments.published):
        raise UserError("--together joins the tables of metrics; it does not go with --search or --published")
    records = load(arguments.results)
    if arguments.search:
        tables = search_tables(records)
    else:
        choices = (arguments.select, arguments.rows, arguments.columns, arguments.published, arguments.bold)
        tables = [table(records, metric, *choices) for metric in arguments.metric or METRICS]
    if arguments.together:
        tables = [joined(tables)]
    tables = [_named(made, arguments, len(tables)) for made in tables]
    text = write(tables, form_, arguments.standalone)
    return finish(text, arguments.out, records)


def joined(tables: Sequence[Table]) -> Table:
    """Put the columns of several tables side by side; the tables must have the same rows, as those of metrics do."""
    first, *others = tables
    marks = {text: mark for mark, text in first.footnotes}
    fresh = (mark for mark in _marks() if mark not in set(marks.values()))
    headings = [
        (f"{made.title}: {data}" if data else made.title, setting) for made in tables for data, setting in made.headings
    ]
    rows: list[list[Line]] = [list(section) for section in first.sections]
    for made in others:
        texts = dict(made.footnotes)
        for text in texts.values():
            if text not in marks:
                marks[text] = next(fresh)
        for section, more in zip(rows, made.sections, strict=True):
            by_label = {line.label: line for line in more}
            for number, line in enumerate(section):
                entries = [_remarked(entry, texts, marks) for entry in by_label[line.label].entries]
                section[number] = dataclasses.replace(line, entries=[*line.entries, *entries])
    return dataclasses.replace(
        first,
        title="",
        headings=headings,
        sections=rows,
        notes=list(dict.fromkeys(note for made in tables for note in made.notes)),
        footnotes=[(mark, text) for text, mark in marks.items()],
        label="tab:results",
        columns=[column for made in tables for column in made.columns],
    )


def _remarked(entry: Entry, texts: dict[str, str], marks: dict[str, str]) -> Entry:
    """The entry, with the marks that its footnotes have in the joined table."""
    named = [marks[texts[mark]] for mark in entry.marks.split(",") if mark]
    return dataclasses.replace(entry, marks=",".join(named))


def _named(made: Table, arguments: argparse.Namespace, number: int) -> Table:
    """The table with the caption and the label that the user asked for."""
    changes = {} if arguments.caption is None else {"caption": arguments.caption}
    if arguments.label is not None:
        changes["label"] = arguments.label if number == 1 else f"{arguments.label}-{formats.slug(made.title)}"
    return dataclasses.replace(made, **changes)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run(write_tables, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
