"""What the commands share: arguments that choose and arrange trials, and how a command ends."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cissl.analysis.labels import BOLD
from cissl.analysis.results import Records
from cissl.analysis.selection import SELECTIONS
from cissl.atomic_files import write_output
from cissl.errors import UserError, accept_any_text, reader_has_gone
from cissl.paths import why_refused

USER_MISTAKE, INTERRUPTED = 2, 130  # exit codes
OPTIONAL = ("matplotlib", "scipy")  # packages that only figures and statistics need


def add_choice_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RESULTS, --select, --rows, --columns and --out."""
    parser.add_argument(
        "results",
        nargs="*",
        metavar="RESULTS",
        help="folders or URIs (s3://...) of trials, of sweeps, or of several sweeps [~/ray_results]",
    )
    parser.add_argument(
        "--select", default="last10", choices=SELECTIONS, help="the evaluations that count [%(default)s]"
    )
    parser.add_argument(
        "--rows", default="method", type=_names, help="settings that name a row, separated by commas [%(default)s]"
    )
    parser.add_argument(
        "--columns",
        default="dataset",
        type=_names,
        help="settings that name a column; dataset: all of its parts [%(default)s]",
    )
    parser.add_argument("--out", type=_path, metavar="FILE", help="write there instead of showing it")


def add_bold_argument(parser: argparse.ArgumentParser) -> None:
    """Add --bold."""
    parser.add_argument(
        "--bold",
        default="best",
        choices=BOLD,
        help="mark the highest mean of each data setting, or all that is not shown to be worse than it [%(default)s]",
    )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of settings such as method,lr")
    return names


def _path(text: str) -> Path:
    path = os.path.expanduser(text)  # a shell leaves the ~ of --out=~/x to us
    if not text or path.startswith("~"):
        raise argparse.ArgumentTypeError(f"'{text}' is no path that can be written to")
    return Path(path)


def form(arguments: argparse.Namespace, known: Mapping[str, str]) -> str:
    """The format to write: that of --format, else that of the suffix of --out, else Markdown.

    Args:
        arguments: with ``out``, and ``format`` where the command has that option.
        known: suffix → format.

    Raises:
        UserError: the suffix stands for no format of this command.
    """
    given, suffix = getattr(arguments, "format", None), arguments.out.suffix.lower() if arguments.out else ""
    if given or not suffix:
        return given or "markdown"
    if suffix not in known:
        choices = " or ".join(known)
        raise UserError(
            f"--out {arguments.out}: '{arguments.out.suffix}' stands for none of this command's formats; use {choices}"
            + (", or name one with --format" if given is None and hasattr(arguments, "format") else "")
        )
    return known[suffix]


def finish(text: str, out: Path | None, records: Records) -> int:
    """Show or write the result, and name what could not be read; returns the exit code.

    Args:
        out: the file to write; None shows the text.
    """
    if out:
        write_output(out, text.encode(errors="replace"))
        print(f"wrote {out} ({len(records.trials)} trials)")
    else:
        print(text, end="")
    return name_problems(records)


def name_problems(records: Records) -> int:
    """Name on stderr the records that could not be read; returns the exit code, 1 if there are any, else 0."""
    for problem in records.problems:
        print(f"skipped {problem}", file=sys.stderr)
    return 1 if records.problems else 0


def run(
    work: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> int:
    """Run a command; returns its exit code.

    A mistake of the user becomes one line on stderr and the exit code 2.

    Args:
        work: takes the parsed arguments and returns the exit code.
        arguments: None for those of the command line.
    """
    accept_any_text()
    os.environ["MPLBACKEND"] = "agg"  # figures go into files; the one of a notebook around us may not exist here
    try:
        code = work(parser.parse_args(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return reader_has_gone()
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (UserError, OSError) as error:
        words = why_refused(error) if isinstance(error, OSError) else error
        print(f"{parser.prog}: {words}", file=sys.stderr)
        return USER_MISTAKE
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in OPTIONAL:
            raise
        print(
            f'{parser.prog}: this needs {error.name}; run: pip install -c constraints.txt -e ".[analysis]"',
            file=sys.stderr,
        )
        return USER_MISTAKE
