"""What the commands have in common: how they end."""

import argparse
import os
import sys
from collections.abc import Callable

from analysis.results import AnalysisError


def run(main: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser) -> int:
    """Parse, run and turn a user's mistake into one message and exit code 2."""
    try:
        return main(parser.parse_args())
    except (AnalysisError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
