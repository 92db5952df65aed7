"""Trains short trials in several processes that share each batch, in float64.

``python -m cissl.testing.workers``, started by `train_together`; arguments: rank, number of workers, file for the
rendezvous, file for the results, the trials' settings as JSON, folder of the user's own code.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import cissl
from cissl import datasets, plugins
from cissl.config import TrialConfig
from cissl.datasets import Dataset
from cissl.training.trainer import Trainer

SECONDS = 600  # for all trials
TEST_IMAGES = 30


def short_data(config: TrialConfig) -> Dataset:
    """The trial's data with a few of the test images, since the checks do not depend on them."""
    dataset = datasets.load(config.dataset)
    few = slice(0, TEST_IMAGES)
    return dataclasses.replace(dataset, test_images=dataset.test_images[few], test_labels=dataset.test_labels[few])


def train_together(configs: Sequence[TrialConfig], workers: int) -> list[dict[str, Any]]:
    """Train each trial on several workers.

    Returns:
        For each trial, the first worker's ``learner`` state and its ``losses``, one for each evaluation.

    Raises:
        RuntimeError: a worker failed. The message has the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("rendezvous", "results")]
        for source in plugins.sources([name for config in configs for name in config.plugins]):
            (Path(folder) / source.name).write_text(source.text, encoding="utf-8")
        settings = json.dumps([config.to_dict() for config in configs])
        command = [sys.executable, "-m", "cissl.testing.workers"]
        path = os.pathsep.join([str(Path(cissl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        processes = [
            subprocess.Popen(
                [*command, str(rank), str(workers), *files, settings, folder],
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(workers)
        ]
        outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
        if any(process.returncode for process in processes):
            raise RuntimeError(f"a worker failed: {outputs[0].strip()[-1000:]}")
        learned: list[dict[str, Any]] = torch.load(files[1], weights_only=True)
        return learned


def main(rank: int, workers: int, rendezvous: str, results: str, settings: list[dict[str, Any]], folder: str) -> None:
    """Train the trials as one of the workers."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for path in Path(folder).glob(f"*{plugins.SUFFIX}"):
        plugins.register(f"{path.name}:_", Path(folder))
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers)
    learned = []
    for values in settings:
        config = TrialConfig.from_mapping(values)
        trainer = Trainer(config, short_data(config), torch.device("cpu"))
        rows = [row for row in trainer.run() if row]
        learned.append({"learner": trainer.learner.state_dict(), "losses": [row["loss"] for row in rows]})
    if rank == 0:
        torch.save(learned, results)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], json.loads(sys.argv[5]), sys.argv[6])
