"""``python -m tests.algorithms.vectors FOLDER``: every method of the package against the vectors in a folder."""

import argparse
import sys
from pathlib import Path

import torch

from tests.algorithms.vectors.compare import Deviation, adapter, compare
from tests.algorithms.vectors.reader import Case, read


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, or 1 where a number is off, a method has no adapter, or there is no file."""
    parser = argparse.ArgumentParser(prog="python -m tests.algorithms.vectors", description=__doc__)
    parser.add_argument("folder", type=Path, help="with <method>.json and <method>.npz")
    parser.add_argument("--double", action="store_true", help="compute in float64")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="these methods alone")
    options = parser.parse_args(arguments)
    files = sorted(path for path in options.folder.glob("*.json") if not options.only or path.stem in options.only)
    if not files:
        print(f"no vectors in {options.folder}", file=sys.stderr)
        return 1
    dtype = torch.float64 if options.double else torch.float32
    return 1 if sum([not report(path, dtype) for path in files]) else 0


def report(path: Path, dtype: torch.dtype) -> bool:
    """Print a line for one method, and one for everything that is off; returns whether all is well."""
    cases = read(path)
    if adapter(path.stem) is None:
        print(f"{path.stem:<14} {len(cases):3} cases  NO ADAPTER")
        return False
    deviations = [deviation for case in cases for deviation in tried(case, dtype)]
    off = [deviation for deviation in deviations if deviation.off]
    largest = max(deviations, key=lambda deviation: deviation.share)
    word = "OFF" if off else "equal"
    print(
        f"{path.stem:<14} {len(cases):3} cases {len(deviations):5} values  {word:<5}  "
        f"largest deviation {100 * largest.share:.3g} % of its tolerance ({largest.case}, {largest.role})"
    )
    for deviation in off:
        print(
            f"    {deviation.case}: {deviation.role} {deviation.words or f'{deviation.share:.3g} times the tolerance'}"
        )
    return not off


def tried(case: Case, dtype: torch.dtype) -> list[Deviation]:
    """The case's deviations; an error is one too."""
    try:
        return compare(case, dtype)
    except Exception as error:
        return [Deviation(case.name, "everything", float("inf"), f"fails with {type(error).__name__}: {error}")]


if __name__ == "__main__":
    sys.exit(main())
