"""Imports run one way: sweeps → tuning → training → config → leaf packages; and Ray stays at its seam."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = ("datasets", "augment", "algorithms", "models")
ALLOWED = {  # package of cissl → packages of cissl it may import, beside itself and those below
    **{leaf: set() for leaf in LEAVES},
    "plugins": set(),
    "settings": set(),
    "config": set(LEAVES),
    "training": {"config", *LEAVES},
    "train": {"training", "config", *LEAVES},
    "testing": {"training", "config", *LEAVES},
    "tuning": {"training", "config", *LEAVES},
}
EVERYWHERE = ("errors", "settings", "plugins", "__version__")


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
def test_analysis_reads_files_and_nothing_else(path):
    assert not {"ray", "torch", "torchvision", "cissl", "sweeps"} & {dotted.split(".")[0] for dotted in imported(path)}


def test_training_a_trial_loads_no_ray():
    code = "import sys, cissl.train, cissl.training.trial; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
