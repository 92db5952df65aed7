"""Estimate how frequent the classes are among a trial's unlabeled images: ``python -m cissl.estimate FOLDER``.

FOLDER is that of a complete trial, preferably a supervised one. Its network's confusions on validation images correct
the counts of its predictions on unlabeled images. The printed line is a setting for other trials:

    darp.shares: 0.31,0.22,…

The estimate uses the labels of validation images. Say so when you report results that depend on it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cissl import datasets
from cissl.algorithms.darp.class_distribution import confusions, estimated_counts
from cissl.errors import UserError, accept_any_text
from cissl.paths import path_argument, why_refused
from cissl.training.checkpoint import WEIGHTS, load_tensors
from cissl.training.records import read_config
from cissl.training.trainer import Trainer

LARGEST_CONDITION = 100.0  # as in DARP's program; beyond it K⁻¹ amplifies the noise of the counts too much


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; by default those of this process.

    Returns:
        The exit code: 0, 1 if the estimate cannot be used, 2 for a user's mistake.
    """
    accept_any_text()
    parser = argparse.ArgumentParser(
        prog="python -m cissl.estimate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=path_argument, help="folder of a complete trial")
    parser.add_argument("--data-dir", type=path_argument, help="where prepared data sets are")
    options = parser.parse_args(arguments)
    try:
        shares, condition = estimate(options.folder, options.data_dir)
    except (UserError, OSError) as error:
        print(f"error: {why_refused(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2
    print(f"darp.shares: {','.join(f'{share:.5g}' for share in shares.tolist())}")
    print(f"condition number of the confusions: {condition:.4g}")
    if shares.min() <= 0 or condition >= LARGEST_CONDITION:
        print(
            "the estimate cannot be used: shares must be above 0 and the condition number below "
            f"{LARGEST_CONDITION:g}; take a better network or more validation images",
            file=sys.stderr,
        )
        return 1
    return 0


def estimate(folder: Path, data_dir: Path | None = None) -> tuple[Tensor, float]:
    """Estimate the shares of the classes among a trial's unlabeled images.

    Args:
        folder: folder of a complete trial.
        data_dir: where prepared data sets live; by default as `cissl.datasets.load` decides.

    Returns:
        The shares, (C,) float64 of sum 1; and the condition number of the matrix of confusions, K.

    Raises:
        UserError: the trial is not complete, or a class has no validation image that was not trained on.
    """
    trainer, dataset = _trained(folder, data_dir)
    held_out = np.setdiff1d(dataset.valid, dataset.labeled)
    labels = dataset.labels[held_out]
    missing = np.setdiff1d(np.arange(dataset.classes), labels)
    if len(missing):
        raise UserError(
            f"class {missing[0]} has no validation image that is not labeled too; train with a split of more "
            "validation images, such as @40-500"
        )
    survey = trainer.survey({"held out": held_out, "unlabeled": dataset.unlabeled})
    validation, unlabeled = (survey.outputs(images).probabilities for images in ("held out", "unlabeled"))
    K = confusions(validation, torch.from_numpy(labels).to(validation.device))
    counts = estimated_counts(K, unlabeled)
    return counts / counts.sum(), torch.linalg.cond(K).item()


def _trained(folder: Path, data_dir: Path | None) -> tuple[Trainer, datasets.Dataset]:
    """A complete trial's trainer with its averaged weights, and its data."""
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} is not the folder of a complete trial, which has {WEIGHTS}")
    dataset = datasets.load(config.dataset, data_dir)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(config, dataset, device)
    trainer.learner.ema_model.load_state_dict(load_tensors(folder / WEIGHTS))
    return trainer, dataset


if __name__ == "__main__":
    sys.exit(main())
