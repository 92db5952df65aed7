"""What a result was made with: versions, commit, hardware."""

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
CPUINFO = Path("/proc/cpuinfo")
ARITHMETIC = re.compile(r"sse4_[12]|fma|avx.*|amx.*|f16c|asimd.*|sve.*|i8mm|bf16")  # what kernels are chosen by
KERNELS = re.compile(r"(ATEN_CPU|ONEDNN|DNNL|MKL|OMP|KMP)_.*|CUBLAS_WORKSPACE_CONFIG")


def provenance() -> dict[str, Any]:
    """What this result was made with: versions, commit, hardware.

    Bits depend on ``processor`` (``model``; ``instructions``, those of arithmetic; ``kernels``, which torch chose), on
    ``environment`` (variables that choose kernels), ``versions``, ``workers`` and ``threads``.
    """
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
        "processor": _processor(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if KERNELS.fullmatch(name)},
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
    return f"{_processor()['model']}, {os.cpu_count()} cores"


def _processor() -> dict[str, Any]:
    """The processor's model and what decides which kernels compute on it; instructions are known on Linux alone."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = told.get("flags", told.get("Features", "")).split()
    return {
        "model": told.get("model name") or platform.processor() or platform.machine(),
        "instructions": sorted(filter(ARITHMETIC.fullmatch, flags)),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }
