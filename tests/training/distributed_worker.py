"""Trains a few steps in float64 as one of several gloo workers; started by test_distributed.py.

Arguments: rank, number of workers, file for the rendezvous, file for the result, settings as JSON.
"""

import json
import sys

import torch
import torch.distributed as dist

from cissl import datasets
from cissl.config import TrialConfig
from cissl.training.trainer import Trainer


def main(rank, workers, rendezvous, result, settings):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers)
    config = TrialConfig.from_mapping(settings)
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    history = [row for row in trainer.run() if row]
    learned = {"learner": trainer.learner.state_dict(), "augmentation": trainer.augmentation.state_dict()}
    torch.save(learned | {"history": history}, f"{result}.{rank}")
    if workers > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], json.loads(sys.argv[5]))
