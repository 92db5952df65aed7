"""Imports run one way: sweeps → tuning → training → config → leaf packages; Ray and torch stay at their seams."""

import ast
import collections
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = ("datasets", "augment", "algorithms", "models")
ALLOWED = {  # package of cissl → packages of cissl it may import, beside itself and those below
    **{leaf: set() for leaf in LEAVES},
    "atomic_files": set(),
    "paths": set(),
    "record_format": set(),
    "plugins": set(),
    "settings": set(),
    "config": set(LEAVES),
    "training": {"config", *LEAVES},
    "doubts": {"config"},
    "train": {"training", "config", "doubts", *LEAVES},
    "estimate": {"training", "config", *LEAVES},
    "testing": {"training", "config", *LEAVES},
    "trained": {"training", "config", *LEAVES},
    "predict": {"trained", "training", *LEAVES},
    "__init__": {"trained"},
    "tuning": {"training", "config", "doubts", *LEAVES},
    "analysis": {"config", "datasets", "algorithms"},
}
EVERYWHERE = ("atomic_files", "errors", "paths", "settings", "plugins", "pretrained", "record_format", "__version__")


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path):
    """Every dotted name that the file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(dotted):
    """``cissl.augment.ops`` → ``augment``; None outside cissl."""
    words = dotted.split(".")
    return words[1] if words[0] == "cissl" and len(words) > 1 else None


@pytest.mark.parametrize("path", sources("cissl"), ids=lambda path: str(path.relative_to(ROOT)))
def test_cissl_imports_run_one_way(path):
    own = path.relative_to(ROOT / "cissl").parts[0].removesuffix(".py")
    for dotted in imported(path):
        other = part(dotted)
        if other not in (None, own, *EVERYWHERE):
            assert other in ALLOWED.get(own, set()), f"{own} imports {dotted}"


@pytest.mark.parametrize("path", sources("cissl") + sources("analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_stands_in_tuning_alone(path):
    if path.is_relative_to(ROOT / "cissl" / "tuning"):
        return
    assert not any(dotted.split(".")[0] == "ray" for dotted in imported(path))


@pytest.mark.parametrize("path", sources("analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_the_analysis_only_call_it(path):
    assert {dotted.split(".")[0] for dotted in imported(path)} <= {"cissl", "sys", "importlib", "sysconfig"}


def repeated(named):
    """Names that several files share, with these files."""
    files = collections.defaultdict(list)
    for name, path in named:
        files[name].append(str(path.relative_to(ROOT)))
    return {name: paths for name, paths in files.items() if len(paths) > 1}


def public_classes(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, path


def test_no_two_modules_have_one_name():
    one_in_each_package = ("__init__", "__main__", "card", "method")
    modules = [(path.stem, path) for path in sources("cissl") if path.stem not in one_in_each_package]
    assert repeated(modules) == {}


def test_no_module_has_the_name_of_one_of_pythons_own():
    assert {path.stem for path in sources("cissl")} & sys.stdlib_module_names == set()


def test_no_two_public_classes_have_one_name():
    """Every method's card has a class `Settings`."""
    assert repeated(found for path in sources("cissl") if path.stem != "card" for found in public_classes(path)) == {}


def test_training_a_trial_loads_no_ray():
    code = "import sys, cissl.train, cissl.training.trial; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_analysis_loads_neither_torch_nor_ray():
    modules = ["cissl.analysis." + path.stem for path in sources("cissl/analysis") if path.stem != "__init__"]
    code = f"import sys, {', '.join(modules)}; sys.exit(str({{'torch', 'torchvision', 'ray'}} & set(sys.modules) or 0))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "0\n"


def test_a_command_called_statistics_leaves_python_its_own_module():
    """The folder of a script that is run comes first on Python's path."""
    code = "import sys, statistics; sys.exit(statistics.mean([1, 3]) != 2)"
    assert {path.stem for path in sources("analysis")} & sys.stdlib_module_names == {"statistics"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "analysis")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_nothing_edits_the_path_that_modules_are_imported_from():
    edits = re.compile(r"sys\.path\.\w|sys\.path *\+?=")
    files = [path for folder in ("cissl", "analysis", "sweeps", "benchmarks", "tests") for path in sources(folder)]
    assert [str(path) for path in files if edits.search(path.read_text(encoding="utf-8"))] == []
