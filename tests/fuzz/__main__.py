"""``python -m tests.fuzz --cases N``: so many cases of input of every kind, by seed; exit 1 if one fails."""

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.fuzz.case import SECONDS, Checker
from tests.fuzz.kinds import KINDS

EPILOG = """\
A case that fails is told in a line that begins with what runs it again: --kind K --seed S --cases 1.
Cases take turns through the kinds, and a kind's cases have the seeds S, S + 1, …; sweeps, which start Ray, take part in
every twentieth round."""
RARE = {"sweeps": 20}


def main(arguments: list[str] | None = None, *, seconds: float = SECONDS) -> int:
    """Run the command; 1 where a case fails or takes more than so many seconds, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", type=int, default=len(KINDS) * 20, help="in all [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first case [%(default)s]")
    parser.add_argument("--kind", choices=list(KINDS), metavar="K", help=f"one kind alone: {', '.join(KINDS)}")
    options = parser.parse_args(arguments)
    kinds = [options.kind] if options.kind else list(KINDS)
    codes: dict[str, Counter] = {kind: Counter() for kind in kinds}
    failures, began = 0, time.monotonic()
    with Checker(seconds) as checker:
        for kind, seed in itertools.islice(_turns(kinds, options.seed), options.cases):
            code, problem = checker.check(KINDS[kind], f"{kind} {seed}")
            codes[kind][code] += 1
            if problem:
                failures += 1
                print(f"--kind {kind} --seed {seed} --cases 1: {problem}", flush=True)
    for kind, counts in codes.items():
        exits = ", ".join(f"exit {code}: {count}" for code, count in sorted(counts.items(), key=str))
        print(f"{kind:<17}{sum(counts.values()):>5}  {exits}")
    print(f"{options.cases} cases, {failures} failures, {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


def _turns(kinds: list[str], first: int) -> Iterator[tuple[str, int]]:
    """Kinds and seeds, without end."""
    for number in itertools.count():
        for kind in kinds:
            every = RARE.get(kind, 1) if len(kinds) > 1 else 1
            if number % every == 0:
                yield kind, first + number // every


if __name__ == "__main__":
    sys.exit(main())
