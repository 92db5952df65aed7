"""The command line of a sweep: ``cissl-sweep NAME`` or ``python sweeps/run.py FILE.yaml``."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cissl.errors import UserError, accept_any_text, reader_has_gone
from cissl.paths import MEANT_AS_URI, local_folder, why_refused
from cissl.tuning import plan, shipped, sweep_file

ALL_COMPLETE, USER_MISTAKE, INTERRUPTED = 0, 2, 3  # exit codes; 1 is for failed trials, see `sweep.run`

URI = re.compile(r"[A-Za-z][\w+.-]+://.")

EPILOG = """The same command continues a sweep: it skips finished trials, resumes unfinished ones and adds new ones.
Ray starts on this machine. It joins a cluster if RAY_ADDRESS names one, as inside a Ray job.
Exit codes: 0 all trials complete, 1 some failed, 2 a mistake in the command or the file, 3 interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep file, or continue it.

    Args:
        arguments: the words of the command line; by default those of this process.

    Returns:
        The exit code: 0 all trials complete, 1 some failed, 2 a user's mistake, 3 interrupted.
    """
    accept_any_text()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    try:
        return _run(options, arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        code = reader_has_gone()
        return code if options.dry_run else INTERRUPTED
    except OSError as error:  # a folder or file that cannot be read or written
        print(f"error: {why_refused(error)}", file=sys.stderr)
        return USER_MISTAKE


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Check the sweep against the data; then show what it would do, or do it."""
    sweep = sweep_file.load(shipped.locate(options.file), options.set)
    if options.smoke:
        sweep = sweep_file.smoke(sweep)
    data_dir = _data_dir(options.data_dir, sweep)
    facts = plan.check_data(sweep, data_dir, need_prepared=not options.dry_run)
    plan.check_networks(sweep, facts)
    if options.dry_run:
        print(plan.table(sweep, facts, plan.parameters(sweep, facts)), flush=True)
        return ALL_COMPLETE
    for note in plan.notes(sweep, facts):
        print(note, flush=True)
    storage = _storage(options.storage_path)
    if options.address is not None:
        os.environ["RAY_ADDRESS"] = options.address
    from cissl.tuning.sweep import run  # here, since importing Ray takes seconds and reads RAY_ADDRESS

    data = {dataset: found.hashes for dataset, found in facts.items()}
    return run(sweep, storage, data_dir=data_dir, data=data, arguments=arguments)


def _storage(given: str) -> str:
    """The folder or URI of the results.

    Raises:
        UserError: it can be neither, or the results would be lost there.
    """
    if URI.match(given):
        return given
    if meant := MEANT_AS_URI.match(given):
        raise UserError(
            f"--storage-path {given}: an object store is written {meant[1] or meant[2]}://…; a folder of that name on "
            f"this machine is ./{given}"
        )
    storage = local_folder("--storage-path", given)
    if "working_dir_files" in storage.parts:  # where a Ray job's --working-dir is copied to
        raise UserError(
            f"--storage-path {given}: results inside the job's copy of the working folder would be lost with it; "
            "give an absolute path"
        )
    return str(storage)


def _data_dir(given: str | None, sweep: sweep_file.Sweep) -> Path | None:
    """Where prepared data sets live. The path is absolute, since workers have another current folder."""
    for name, text in (
        ("--data-dir", given),
        (f"{sweep.path}: data_dir", sweep.data_dir),
        ("ML_DATA", os.environ.get("ML_DATA") or None),
    ):
        if text is not None:
            return local_folder(name, text)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run a sweep, or continue it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="SWEEP",
        help=f"a sweep file, or the name of one that comes with cissl: {', '.join(shipped.names())}",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the trials, their steps and labels, and start nothing"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="run each algorithm on each data set for three steps, in a folder of its own (NAME-smoke)",
    )
    _add_places(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting, an axis (a list) or another key (resources.cpus=2); may be repeated",
    )
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Options that say where results and data are, and where trials run."""
    parser.add_argument(
        "--storage-path",
        default="~/ray_results",
        metavar="P",
        help="where the results of all sweeps live: a folder or s3://… (default ~/ray_results)",
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="Ray cluster to join, HOST:PORT or auto, in place of RAY_ADDRESS; local: start Ray on this machine",
    )
    parser.add_argument(
        "--data-dir",
        metavar="D",
        help="prepared data sets (default data_dir of the file, else $ML_DATA, else ~/.cache/cissl)",
    )


if __name__ == "__main__":
    sys.exit(main())
