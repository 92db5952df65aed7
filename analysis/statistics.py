"""Confidence intervals and paired comparisons: python analysis/statistics.py RESULTS [--help]"""

import sys

if __name__ == "__main__":
    try:
        from cissl.analysis.significance import main
    except ModuleNotFoundError as error:
        print(
            f"{error} in {sys.executable}; activate the environment that cissl is installed in, "
            "or install it: pip install -c constraints.txt -e .",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(main())
else:
    # A script beside this file was started, so that its folder comes first on the path, and something imports Python's
    # own `statistics`: it gets that.
    import importlib.machinery
    import importlib.util
    import sysconfig

    spec = importlib.machinery.PathFinder.find_spec(__name__, [sysconfig.get_path("stdlib")])
    sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])
