"""Tables of a sweep: python analysis/tables.py RESULTS [--help]"""

import sys

try:
    from cissl.analysis.tables import main
except ModuleNotFoundError as error:
    print(
        f"{error} in {sys.executable}; activate the environment that cissl is installed in, "
        "or install it: pip install -c constraints.txt -e .",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
