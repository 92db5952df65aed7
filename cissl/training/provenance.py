"""What a result depends on beside its settings: versions, commit, hardware."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import cissl
from cissl.training.distributed import world_size
from cissl.training.records import now

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "ray", "optuna")
GIT_PATIENCE_S = 20
CPUINFO = Path("/proc/cpuinfo")
ARITHMETIC = re.compile(r"sse4_[12]|fma|avx.*|amx.*|f16c|asimd.*|sve.*|i8mm|bf16")  # what kernels are chosen by
KERNEL_VARIABLES = re.compile(r"(ATEN_CPU|ONEDNN|DNNL|MKL|OMP|KMP)_.*|CUBLAS_WORKSPACE_CONFIG")


def provenance() -> dict[str, Any]:
    """What this result depends on beside its settings: versions, commit, hardware.

    The last bits of a result depend on ``versions``, ``workers``, ``threads``, ``environment`` (variables that choose
    kernels) and ``processor`` (its ``model``; its ``instructions`` for arithmetic; the ``kernels`` that torch chose).
    """
    versions: dict[str, str | None] = {"python": platform.python_version(), "cissl": cissl.__version__}
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
        "processor": _processor(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if KERNEL_VARIABLES.fullmatch(name)},
        "workers": world_size(),
        "threads": torch.get_num_threads(),
        "started": now(),
    }


def _commit() -> tuple[str | None, bool | None]:
    """The checkout's commit, and whether it has uncommitted changes; None if cissl does not run from a checkout."""
    root = Path(cissl.__file__).parents[1]
    try:
        if not (root / ".git").exists():
            return None, None
        return _git(root, "rev-parse", "HEAD"), bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=GIT_PATIENCE_S, check=True).stdout.strip()


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_processor()['model']}, {os.cpu_count()} cores"


def _processor() -> dict[str, Any]:
    """The processor's model, instructions and kernels. Instructions are known on Linux only."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "model": facts.get("model name") or platform.processor() or platform.machine(),
        "instructions": sorted(filter(ARITHMETIC.fullmatch, flags)),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }
