"""The tables in `results.md` are what commands print, and the figures what they draw: `python docs/write_results.py`.

A block begins with a comment that holds its command and ends with another. What stands between is replaced:

    <!-- cissl-tables results/methods_digits --metric gmean -->
    <!-- end -->

A figure's command stands in a comment of its own and writes into `docs/images`:

    <!-- cissl-curves results/methods_digits --kind training --out docs/images/methods_digits.svg -->
"""

import contextlib
import importlib
import io
import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("results.md")
BLOCK = re.compile(r"<!-- (cissl-(?:tables|statistics) [^\n]+?) -->\n.*?<!-- end -->", re.DOTALL)
FIGURE = re.compile(r"<!-- (cissl-curves [^\n]+?) -->\n")
COMMANDS = {
    "cissl-tables": "cissl.analysis.tables",
    "cissl-statistics": "cissl.analysis.significance",
    "cissl-curves": "cissl.analysis.curves",
}


def written(page: str) -> str:
    """The page with every block as its command prints it today."""
    return BLOCK.sub(lambda block: f"<!-- {block[1]} -->\n{printed(block[1])}<!-- end -->", page)


def printed(command: str) -> str:
    """What a command prints; the folders that it names are those below the working directory.

    Raises:
        RuntimeError: it fails.
    """
    name, *arguments = shlex.split(command)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = importlib.import_module(COMMANDS[name]).main(arguments)
    if code:
        raise RuntimeError(f"{command}: exit code {code}")
    return f"{output.getvalue().strip()}\n"


def main() -> int:
    os.chdir(ROOT)
    page = PAGE.read_text(encoding="utf-8")
    for command in FIGURE.findall(page):
        print(printed(command), end="")
    PAGE.write_text(written(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
