"""The conformance suite: ``python -m cissl.testing NAME…`` for fixmatch+abc or ours.py:Ours; half a minute each."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cissl import plugins
from cissl.errors import UserError
from cissl.testing.conformance import CHECKS, WORKERS, Finding, compare_workers, findings, short_config
from cissl.testing.pairs import allowed_pairs
from cissl.testing.workers import train_together

TOGETHER = 12  # methods whose trials are trained by the same pair of processes


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, 1 where a method fails a check, 2 for a user's mistake."""
    parser = _parser()
    options = parser.parse_args(arguments)
    names = [*options.names, *(allowed_pairs() if options.all_pairs else ())]
    if not names:
        parser.error("name a method, a sum such as fixmatch+abc, or ours.py:Ours")
    try:
        plugins.register_all(names, Path.cwd())
        settings = dict(_setting(text) for text in options.set)
        failed = _failed(names, options.only or list(CHECKS), settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(names) > 1:
        print(f"{len(names) - len(failed)} of {len(names)} methods pass all checks", flush=True)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cissl.testing", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a method, a sum, or ours.py:Ours")
    parser.add_argument("--all-pairs", action="store_true", help="every base of the package with every add-on; an hour")
    parser.add_argument("--only", nargs="+", default=[], choices=list(CHECKS), metavar="CHECK", help=", ".join(CHECKS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the short trials")
    return parser


def _failed(names: Sequence[str], checks: Sequence[str], settings: dict[str, Any]) -> set[str]:
    """The methods that fail a check. Several methods share the two processes of the check "workers"."""
    failed: set[str] = set()
    alone = tuple(check for check in checks if check != "workers" or len(names) == 1)
    for start in range(0, len(names), TOGETHER):
        group = names[start : start + TOGETHER]
        failed |= {name for name in group if alone and not _passes(name, alone, settings)}
        left = [name for name in group if name not in failed]
        if len(alone) < len(checks) and left:
            failed |= _failed_together(left, settings)
    return failed


def _passes(name: str, checks: tuple[str, ...], settings: dict[str, Any]) -> bool:
    passed, made, began = True, 0, time.monotonic()
    for finding in findings(name, only=checks, **settings):
        _tell(name, finding, time.monotonic() - began)
        passed, made, began = passed and finding.passed, made + 1, time.monotonic()
    if made < len(checks):
        print(f"{name}: the other checks need a method that trains", flush=True)
    return passed


def _failed_together(names: Sequence[str], settings: dict[str, Any]) -> set[str]:
    """The methods that two workers train otherwise than one."""
    configs, began = [short_config(name, **settings) for name in names], time.monotonic()
    try:
        learned = train_together(configs, WORKERS)
    except RuntimeError:  # one method failed, which ended the others too
        return {name for name in names if not _passes(name, ("workers",), settings)}
    found = [Finding("workers", compare_workers(*each)) for each in zip(configs, learned, strict=True)]
    for name, finding in zip(names, found, strict=True):
        _tell(name, finding, (time.monotonic() - began) / len(names))
    return {name for name, finding in zip(names, found, strict=True) if not finding.passed}


def _tell(name: str, finding: Finding, seconds: float) -> None:
    word = "passes" if finding.passed else f"FAILS: {finding.problem}"
    print(f"{name}: {finding.check:<14} {seconds:5.1f} s  {word}", flush=True)


def _setting(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: write KEY=VALUE")
    words = {"true": True, "false": False}
    try:
        return key, words.get(value.lower(), float(value) if value.lower() not in words else None)
    except ValueError:
        return key, value


if __name__ == "__main__":
    sys.exit(main())
