"""One page about a sweep: python analysis/report.py RESULTS --out report.html [--help]"""

import sys

try:
    from cissl.analysis.report import main
except ModuleNotFoundError as error:
    print(
        f"{error} in {sys.executable}; activate the environment that cissl is installed in, "
        "or install it: pip install -c constraints.txt -e .",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
