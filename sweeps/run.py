"""Run a sweep, or continue it: python sweeps/run.py sweeps/digits_lt.yaml [--dry-run] [--help]"""

import sys

try:
    from cissl.tuning.cli import main
except ModuleNotFoundError as error:
    print(
        f"{error} in {sys.executable}; activate the environment that cissl is installed in, "
        "or install it: pip install -c constraints.txt -e .",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
