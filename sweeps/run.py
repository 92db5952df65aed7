"""Run a sweep, or continue it: python sweeps/run.py sweeps/digits_lt.yaml [--dry-run] [--help]"""

import sys

from cissl.tuning.cli import main

if __name__ == "__main__":
    sys.exit(main())
