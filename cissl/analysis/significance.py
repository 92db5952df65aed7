"""The command for confidence intervals and for paired comparisons with a baseline.

python analysis/statistics.py ~/ray_results/digits_lt --metric gmean --baseline fixmatch
"""

import argparse
import sys
from collections.abc import Sequence

from cissl.analysis.cells import build
from cissl.analysis.command_line import add_choice_arguments, finish, form, run
from cissl.analysis.results import load
from cissl.analysis.selection import METRICS, SELECTIONS

SUFFIXES = {".md": "markdown", ".csv": "csv"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description="Confidence intervals, and paired comparisons with a baseline.", allow_abbrev=False
    )
    add_choice_arguments(made)
    made.add_argument("--metric", default="accuracy", choices=METRICS, help="[%(default)s]")
    made.add_argument(
        "--baseline", default="fixmatch", help="algorithm that the others are compared with [%(default)s]"
    )
    made.add_argument("--format", choices=sorted(SUFFIXES.values()), help="[by the suffix of --out, else markdown]")
    return made


def write_statistics(arguments: argparse.Namespace) -> int:
    """Show or write intervals and comparisons; the exit code is 1 where a record could not be read.

    Raises:
        UserError: there is nothing to compare, or the baseline is not one row.
    """
    from cissl.analysis import comparison  # here, so that the help needs no SciPy

    write = {"csv": comparison.as_csv, "markdown": comparison.as_text}[form(arguments, SUFFIXES)]
    records = load(arguments.results)
    grid = build(records, arguments.metric, SELECTIONS[arguments.select], arguments.rows, arguments.columns)
    return finish(write(grid, comparison.find_baseline(grid, arguments.baseline)), arguments.out, records)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    return run(write_statistics, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
