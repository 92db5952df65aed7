"""What the commands have in common: which trials, how they are arranged, and how a command ends."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cissl.analysis.results import Records
from cissl.analysis.selection import SELECTIONS
from cissl.errors import UserError, accept_any_text, reader_has_gone


def without_plots() -> None:
    """End a command that draws where matplotlib is not installed."""
    print('plots need matplotlib; run: pip install -c constraints.txt -e ".[analysis]"', file=sys.stderr)
    sys.exit(2)


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """RESULTS, --select, --rows, --columns and --out."""
    parser.add_argument(
        "results",
        nargs="*",
        metavar="RESULTS",
        help="folders or URIs (s3://...) of trials, of sweeps, or of several sweeps [~/ray_results]",
    )
    parser.add_argument(
        "--select", default="last10", choices=SELECTIONS, help="the evaluations that count [%(default)s]"
    )
    parser.add_argument("--rows", default="method", help="settings that name a row, separated by commas [%(default)s]")
    parser.add_argument(
        "--columns", default="dataset", help="settings that name a column; dataset: all of its parts [%(default)s]"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of showing it")


def finish(text: str, out: Path | None, records: Records) -> int:
    """Show or write the result and name what could not be read, which makes the exit code 1."""
    if out:
        out.write_text(text, encoding="utf-8")
        print(f"wrote {out} ({len(records.trials)} trials)")
    else:
        print(text, end="")
    return name_problems(records)


def name_problems(records: Records) -> int:
    """Name the records that could not be read on stderr; the exit code."""
    for problem in records.problems:
        print(f"skipped {problem}", file=sys.stderr)
    return 1 if records.problems else 0


def run(
    work: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> int:
    """Parse the arguments (None: the command line's), work, and turn a user's mistake into one message and code 2."""
    accept_any_text()
    try:
        return work(parser.parse_args(arguments))
    except BrokenPipeError:
        return reader_has_gone()
    except (UserError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
