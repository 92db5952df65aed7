"""The command for figures of a sweep: one file for each data setting and kind of figure.

python analysis/curves.py ~/ray_results/digits_lt --out figures
"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from cissl.analysis.cells import Grid, build
from cissl.analysis.command_line import add_choice_arguments, name_problems, run
from cissl.analysis.formats import FileNames
from cissl.analysis.history import MEASURED, VECTORS
from cissl.analysis.results import Records, load
from cissl.analysis.search_tables import searches
from cissl.analysis.selection import SELECTIONS
from cissl.analysis.series import KINDS, SEARCH, series_by_setting
from cissl.atomic_files import write_output
from cissl.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
DPI = 300


class Drawing(NamedTuple):
    """A figure that is still to be drawn.

    Attributes:
        kind: a key of `KINDS`, or `SEARCH`.
        heading: the data setting, or the name of the search.
        draw: draws it.
    """

    kind: str
    heading: str
    draw: Callable[[], "Figure"]


def write_figures(arguments: argparse.Namespace) -> int:
    """Write the figures; the exit code is 1 where a record could not be read.

    Raises:
        UserError: --out names a file, or there is nothing to draw.
    """
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
    """Each kind of figure for each setting of the grid, then one figure for each search."""
    from cissl.analysis import figures, search_figure  # here, so that the help needs no matplotlib

    drawings = [
        Drawing(kind, heading, partial(figures.draw, kind, series, heading))
        for heading, series in (series_by_setting(grid) if grid else ())
        for kind in kinds
        if kind != SEARCH
    ]
    for search in searches(records) if SEARCH in kinds else ():
        drawings.append(Drawing(SEARCH, search.name, partial(search_figure.draw_search, search, search.name)))
    return drawings


def _write(drawings: Sequence[Drawing], folder: Path, formats: Sequence[str]) -> int:
    """Draw and save; returns the number of files. A figure whose data is not on record is named and left out."""
    import matplotlib

    from cissl.analysis.panels import NotOnRecord

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
            drawn = io.BytesIO()
            figure.savefig(drawn, format=suffix, dpi=DPI)
            write_output(folder / f"{name}.{suffix}", drawn.getvalue())
            written += 1
    return written


def _require_folder(out: Path) -> None:
    """Refuse the name of a file: each figure gets a file of its own.

    Raises:
        UserError: the path names a file.
    """
    if out.suffix.lower().lstrip(".") in FORMATS or out.is_file():
        raise UserError(f"--out {out}: name a folder, which gets a file for each figure; --format chooses their format")


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
