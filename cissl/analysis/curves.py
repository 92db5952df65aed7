"""Figures of a sweep, one file per data setting and kind: what happened over training and what explains it.

python analysis/curves.py ~/ray_results/digits_lt --out figures
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from cissl.analysis.cli import add_choice_arguments, name_problems, run, without_plots

try:
    import matplotlib
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    without_plots()

from cissl.analysis import figures, formats, labels
from cissl.analysis.figures import FIGURES, NotOnRecord, Series
from cissl.analysis.grid import Grid, build
from cissl.analysis.results import load
from cissl.analysis.search import searches
from cissl.analysis.selection import SELECTIONS

SEARCH = "search"  # the figure of a hyper-parameter search, beside those of a setting
FORMATS = ("png", "pdf", "svg")
DPI = 300


def series_by_setting(grid: Grid) -> Iterator[tuple[str, Series]]:
    """Per column, each row's complete trials; where it has none, those still running, which its name then says."""
    for column, heading in zip(grid.columns, labels.headings_in_words(grid.columns), strict=True):
        series: Series = {}
        for row in grid.rows:
            cell = grid.cells.get((row, column))
            running = [t for t, _ in cell.left_out if t.state == "running" and t.rows] if cell else []
            if cell and cell.counted:
                series[f"{labels.row_label(row)} (n = {cell.n})"] = cell.counted
            elif running:
                series[f"{labels.row_label(row)} ({len(running)} running)"] = running
        if series:
            yield heading, series


def write_figures(arguments: argparse.Namespace) -> int:
    """Write the figures; the exit code is 1 where a record could not be read."""
    matplotlib.rcParams["pdf.fonttype"] = 42  # TrueType: journals refuse matplotlib's Type 3 fonts
    records = load(arguments.results, vectors=figures.VECTORS)
    rows, columns = arguments.rows.split(","), arguments.columns.split(",")
    kinds = arguments.kind or (*FIGURES, SEARCH)
    searched_only = bool(records.trials) and all(trial.searched for trial in records.trials)
    grid = None if searched_only else build(records, "accuracy", SELECTIONS[arguments.select], rows, columns)
    drawings: list[tuple[str, str, Callable[[], Figure]]] = []
    for heading, series in series_by_setting(grid) if grid else ():
        drawings += [(k, heading, partial(figures.draw, k, series, heading)) for k in kinds if k != SEARCH]
    for search in searches(records) if SEARCH in kinds else ():
        drawings.append((SEARCH, search.name, partial(figures.draw_search, search, search.name)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = 0
    for kind, heading, draw in tqdm(drawings, unit="figure", disable=None):
        try:
            figure = draw()
        except NotOnRecord as error:
            tqdm.write(f"{heading}: no {kind}: {error} not on record")
            continue
        for form in arguments.format or FORMATS[:2]:
            figure.savefig(arguments.out / f"{formats.slug(f'{kind} {heading}')}.{form}", dpi=DPI)
            written += 1
    print(f"wrote {written} files to {arguments.out}")
    for note in grid.notes if grid else ():
        print(note)
    return name_problems(records)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Figures of a sweep.", allow_abbrev=False)
    add_choice_arguments(made)
    made.set_defaults(out=Path("figures"))
    made.add_argument("--kind", action="append", choices=(*FIGURES, SEARCH), help="may be repeated [all]")
    made.add_argument("--format", action="append", choices=FORMATS, help="may be repeated [png and pdf]")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run(write_figures, parser(), arguments)
