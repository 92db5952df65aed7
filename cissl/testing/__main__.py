"""The conformance suite: ``python -m cissl.testing NAME…``, as fixmatch+abc or ours.py:Ours; half a minute each."""

import argparse
import sys
import time
from pathlib import Path

from cissl import plugins
from cissl.errors import UserError
from cissl.testing.conformance import CHECKS, check_method


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, 1 where a method fails a check, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m cissl.testing", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="a method, a sum, or ours.py:Ours")
    parser.add_argument("--only", nargs="+", default=[], choices=list(CHECKS), metavar="CHECK", help=", ".join(CHECKS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the short trials")
    options = parser.parse_args(arguments)
    try:
        settings = dict(_setting(text) for text in options.set)
        failed = [name for name in options.names if not _passes(name, tuple(options.only), settings)]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def _passes(name: str, only: tuple[str, ...], settings: dict[str, object]) -> bool:
    plugins.register_all([name], Path.cwd())
    passed = True
    for check in only or tuple(CHECKS):
        began = time.monotonic()
        (finding,) = check_method(name, only=(check,), **settings)
        word = "holds" if finding.passed else f"FAILS: {finding.problem}"
        print(f"{name}: {check:<14} {time.monotonic() - began:5.1f} s  {word}", flush=True)
        passed &= finding.passed
    return passed


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
