"""Runs a trial in float64 as one of several gloo workers until it is killed at a step; started by test_distributed.py.

Arguments: rank, number of workers, file for the rendezvous, the trial's folder, settings as JSON, the step.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from cissl.config import TrialConfig
from cissl.training.trial import run_trial


def main(rank, workers, rendezvous, folder, settings, until):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers)

    def on_evaluation(row):
        if row["step"] == until:
            os.kill(os.getpid(), signal.SIGKILL)

    run_trial(TrialConfig.from_mapping(settings), folder, device="cpu", on_evaluation=on_evaluation)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), json.loads(sys.argv[5]), int(sys.argv[6]))
