"""What a result was made with: versions, commit, hardware."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import cissl
from cissl.training.distributed import world_size
from cissl.training.records import now

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "ray", "optuna")


def provenance() -> dict[str, Any]:
    """What this result was made with: versions, commit, hardware."""
    versions = {"python": platform.python_version(), "cissl": cissl.__version__}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    commit, dirty = _commit()
    return {
        "versions": versions,
        "commit": commit,
        "dirty": dirty,
        "hardware": _hardware(),
        "workers": world_size(),
        "threads": torch.get_num_threads(),
        "started": now(),
    }


def _commit() -> tuple[str | None, bool | None]:
    """The checkout's commit and whether it has uncommitted changes; None where cissl does not run from a checkout."""
    root = Path(cissl.__file__).parents[1]
    try:
        if not (root / ".git").exists():
            return None, None
        git = lambda *words: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), processor)
    return f"{processor}, {os.cpu_count()} cores"
