"""Figures of a sweep, one file per data setting and kind: what happened over training and what explains it.

python analysis/curves.py ~/ray_results/digits_lt --out figures
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from cissl.analysis import labels
from cissl.analysis.cells import Grid, build
from cissl.analysis.command_line import add_choice_arguments, name_problems, run
from cissl.analysis.formats import FileNames
from cissl.analysis.results import MEASURED, VECTORS, Records, Trial, load
from cissl.analysis.search_tables import searches
from cissl.analysis.selection import SELECTIONS
from cissl.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {  # of figures → what each shows
    "training": "Accuracy and geometric mean on the test set over training: mean and ± sample std over seeds.",
    "head-tail": "Test accuracy of the classes with most and with fewest labels over training.",
    "classes": "Recall and precision of each class on the test set at the end, classes ordered by their labels.",
    "confusion": "Row-normalised confusion matrices on the test set, the last evaluations and all seeds together.",
    "prior": "Estimated class prior against the true one of the unlabeled images, where that is known: at the end, and "
    "how far over training.",
    "thresholds": "Threshold of pseudo-labels per class at the end, and share of pseudo-labels kept over training.",
    "pseudo-labels": "Kept pseudo-labels per class at the end, and their precision for head and tail classes over "
    "training; labeled images that are among the unlabeled ones count too.",
    "measured": "What methods measure of themselves: numbers over training, and values per class at the end.",
}
SEARCH = "search"  # the figure of a hyper-parameter search, beside those of a setting
SEARCH_CAPTION = (
    "Candidates of a search by each searched setting: mean and ± sample std over seeds on validation images."
)
FORMATS = ("png", "pdf", "svg")
DPI = 300
Series = dict[str, list[Trial]]


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


class Drawing(NamedTuple):
    """A figure that is still to be drawn."""

    kind: str
    heading: str
    draw: Callable[[], "Figure"]


def write_figures(arguments: argparse.Namespace) -> int:
    """Write the figures; the exit code is 1 where a record could not be read."""
    _require_folder(arguments.out)
    records = load(arguments.results, vectors=(*VECTORS, MEASURED))
    select, rows, columns = SELECTIONS[arguments.select], arguments.rows, arguments.columns
    searched_only = bool(records.trials) and all(trial.searched for trial in records.trials)
    grid = None if searched_only else build(records, "accuracy", select, rows, columns)
    drawings = _drawings(grid, records, arguments.kind or (*KINDS, SEARCH))
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = _write(drawings, arguments.out, arguments.format or FORMATS[:2])
    print(f"wrote {written} files to {arguments.out}")
    for note in grid.notes if grid else ():
        print(note)
    return name_problems(records)


def _drawings(grid: Grid | None, records: Records, kinds: Sequence[str]) -> list[Drawing]:
    """Each kind of figure for each setting of the grid, then one for each search."""
    from cissl.analysis import figures  # here, so that the help does without matplotlib

    drawings = [
        Drawing(kind, heading, partial(figures.draw, kind, series, heading))
        for heading, series in (series_by_setting(grid) if grid else ())
        for kind in kinds
        if kind != SEARCH
    ]
    for search in searches(records) if SEARCH in kinds else ():
        drawings.append(Drawing(SEARCH, search.name, partial(figures.draw_search, search, search.name)))
    return drawings


def _write(drawings: Sequence[Drawing], folder: Path, formats: Sequence[str]) -> int:
    """Draw and save; returns the number of files. What is not on record is named and left out."""
    import matplotlib

    from cissl.analysis.figures import NotOnRecord

    matplotlib.rcParams["pdf.fonttype"] = 42  # TrueType: journals refuse matplotlib's Type 3 fonts
    names = FileNames()
    written = 0
    for kind, heading, draw in tqdm(drawings, unit="figure", disable=None):
        name = names.new(f"{kind} {heading}")
        try:
            figure = draw()
        except NotOnRecord as error:
            tqdm.write(f"{heading}: no figure '{kind}': {error}")
            continue
        for suffix in formats:
            figure.savefig(folder / f"{name}.{suffix}", dpi=DPI)
            written += 1
    return written


def _require_folder(out: Path) -> None:
    """Refuse what names a file: each figure gets a file of its own."""
    if out.suffix.lower().lstrip(".") in FORMATS or out.is_file():
        raise UserError(f"--out {out}: name a folder, which gets a file for each figure; --format chooses their kind")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Figures of a sweep.", allow_abbrev=False)
    add_choice_arguments(made)
    made.set_defaults(out=Path("figures"))  # a folder
    made.add_argument("--kind", action="append", choices=(*KINDS, SEARCH), help="may be repeated [all]")
    made.add_argument("--format", action="append", choices=FORMATS, help="may be repeated [png and pdf]")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run(write_figures, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
