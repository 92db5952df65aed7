"""cissl: sweeps of class-imbalanced semi-supervised learning on Ray Tune and PyTorch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cissl.trained import TrainedModel

__version__ = "0.1.0"


def load(trial: "str | Path", device: str | None = None) -> "TrainedModel":
    """The network of a complete trial, ready to label images; see `cissl.trained.load`."""
    from cissl import trained  # here, so that `import cissl` does not load torch

    return trained.load(trial, device)
