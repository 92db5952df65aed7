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

USER_MISTAKE, INTERRUPTED = 2, 3  # exit codes; `sweep.run` has the others

URI = re.compile(r"[A-Za-z][\w+.-]+://.")

EPILOG = """Running it again continues: finished trials are skipped, unfinished ones resume, new ones are added.
Ray starts on this machine, or joins the cluster that RAY_ADDRESS names, as it does inside a Ray job.
Exit codes: 0 all trials complete, 1 some failed, 2 a mistake in the command or the file, 3 interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep file; returns the exit code."""
    accept_any_text()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    try:
        sweep = sweep_file.load(shipped.locate(options.file), options.set)
        if options.smoke:
            sweep = sweep_file.smoke(sweep)
        data_dir = _data_dir(options.data_dir, sweep)
        facts = plan.check_data(sweep, data_dir, need_prepared=not options.dry_run)
        plan.check_networks(sweep, facts)
        if options.dry_run:
            print(plan.table(sweep, facts, plan.parameters(sweep, facts)), flush=True)
            return 0
        for note in plan.notes(sweep, facts):
            print(note, flush=True)
        storage = _storage(options.storage_path)
        if options.address is not None:
            os.environ["RAY_ADDRESS"] = options.address
        from cissl.tuning.sweep import run  # Ray is imported only where it is used

        data = {dataset: found.hashes for dataset, found in facts.items()}
        return run(sweep, storage, data_dir=data_dir, data=data, arguments=arguments)
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


def _storage(given: str) -> str:
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
    """Where prepared data sets live; absolute, since workers have another current folder."""
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
    parser.add_argument(
        "--storage-path",
        default="~/ray_results",
        metavar="P",
        help="where the results of all sweeps live: a folder or s3://… (default ~/ray_results)",
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="of the Ray cluster to join, HOST:PORT or auto, in place of RAY_ADDRESS; local: a Ray of its own",
    )
    parser.add_argument(
        "--data-dir",
        metavar="D",
        help="prepared data sets (default data_dir of the file, else $ML_DATA, else ~/.cache/cissl)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting, an axis (a list) or another key (resources.cpus=2); may be repeated",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
