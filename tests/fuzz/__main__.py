"""``python -m tests.fuzz --cases N``: so many cases of input of every kind, by seed; exit 1 if one fails."""

import argparse
import contextlib
import logging
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.kinds import KINDS, outcome

SECONDS = 60  # of one case


class TooLong(BaseException):
    """A case did not end."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where a case fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=len(KINDS) * 20, help="in all [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the first case [%(default)s]")
    parser.add_argument("--kind", choices=list(KINDS), help="this kind alone")
    options = parser.parse_args(arguments)
    kinds = [options.kind] if options.kind else list(KINDS)
    codes: Counter = Counter()
    failures, began = 0, time.monotonic()
    for number in range(options.cases):
        kind, seed = kinds[number % len(kinds)], options.seed + number // len(kinds)
        code, problem = check(kind, seed)
        codes[kind, code] += 1
        if problem:
            failures += 1
            print(f"{kind} --seed {seed}: {problem}", flush=True)
    for (kind, code), count in sorted(codes.items(), key=str):
        print(f"{kind:<15} exit {code}: {count}")
    print(f"{options.cases} cases, {failures} failures, {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


def check(kind: str, seed: int) -> tuple[int | None, str]:
    """One case's exit code, and what it does not hold to, empty if nothing."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        case = KINDS[kind](Path(folder), random.Random(f"{kind} {seed}"))
        before = {path: path.read_bytes() for path in case.kept}
        try:
            with limited():
                code, text = outcome(case)
        except TooLong:
            return None, f"does not end within {SECONDS} s"
        except Exception:
            return None, "a traceback: " + traceback.format_exc().strip()[-1500:]
        if "Traceback" in text:
            return code, f"a traceback is shown: {text[-1000:]}"
        if code not in case.codes:
            return code, f"exit code {code}: {text[-300:]}"
        if code == 2 and not text.strip():
            return code, "is refused without a word"
        lost = [path.name for path, data in before.items() if not path.is_file() or path.read_bytes() != data]
        return code, f"input was lost or changed: {lost}" if lost else ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, the program logs nothing."""
    logger = logging.getLogger("cissl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Within, what takes too long is ended."""

    def too_long(number, frame):
        raise TooLong

    old = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


if __name__ == "__main__":
    sys.exit(main())
