"""Run a sweep file's trials without Ray, for a number of minutes; the next call continues where this one stopped.

    python benchmarks/pieces.py sweeps/cifar10_lt.yaml --minutes 9 --jobs 3 --folder runs \\
        --set precision=bf16 --set compile=true --set save_kimg=16
    python analysis/tables.py runs/cifar10_lt

This is for machines without Ray that are free only for minutes at a time; take the folder along. Trials run in the
file's order, `--jobs` at a time on one device. When the time is over they are interrupted and keep their last
checkpoint, so each loses at most `save_kimg`. `--records DIR` copies what the tables need, without checkpoints.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training.records import read_history, read_status
from cissl.training.trial import run_trial
from cissl.tuning import sweep_file

RECORDS = ("config.json", "provenance.json", "status.json", "history.jsonl", "confusion.npy", "stats")
POLL_S = 0.5


def main() -> int:
    """Run the command; returns its exit status: 0, 2 for a user's mistake, 3 where trials are left."""
    options = parse()
    try:
        sweep = sweep_file.load(options.file, options.set)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    folder = options.folder / sweep.name
    run(list(sweep.trials), folder, options)
    left = report(list(sweep.trials), folder)
    if options.records:
        copy_records(folder, options.records / sweep.name)
    return 3 if left else 0


def parse() -> argparse.Namespace:
    """The options of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("file", type=Path)
    made.add_argument("--minutes", type=float, default=9)
    made.add_argument("--jobs", type=int, default=1, help="trials at a time [%(default)s]")
    made.add_argument("--folder", type=Path, default=Path("runs"), help="[%(default)s]")
    made.add_argument("--records", type=Path, help="copy the records there")
    made.add_argument("--data-dir", type=Path)
    made.add_argument("--device", help="[a GPU where there is one]")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return made.parse_args()


def run(trials: list[TrialConfig], folder: Path, options: argparse.Namespace) -> None:
    """Train what is left until the time is over."""
    deadline = time.monotonic() + 60 * options.minutes
    waiting = [config for config in trials if state(config, folder) not in ("complete", "diverged")]
    running: list[multiprocessing.Process] = []
    context = multiprocessing.get_context("spawn")
    try:
        while (waiting or running) and time.monotonic() < deadline:
            running = [process for process in running if process.is_alive()]
            while waiting and len(running) < options.jobs:
                config = waiting.pop(0)
                arguments = (
                    config,
                    folder / config.trial_id,
                    options.data_dir,
                    folder.name,
                    options.device,
                    options.jobs,
                )
                running.append(context.Process(target=train, args=arguments))
                running[-1].start()
            time.sleep(POLL_S)
    finally:
        for process in running:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process in running:
            process.join()


def train(config: TrialConfig, folder: Path, data_dir: Path | None, sweep: str, device: str | None, jobs: int) -> None:
    """Train one trial in this process; its records tell how it ended."""
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // jobs))
    try:
        run_trial(config, folder, data_dir=data_dir, sweep=sweep, device=device)
    except KeyboardInterrupt:
        pass


def report(trials: list[TrialConfig], folder: Path) -> int:
    """Print how far each trial has come; returns the number of trials that are not complete."""
    for config in trials:
        status, history = read_status(folder / config.trial_id) or {}, read_history(folder / config.trial_id)
        scores = f"accuracy {history[-1]['accuracy']:.2f} gmean {history[-1]['gmean']:.2f}" if history else ""
        step, seconds = status.get("step", 0), status.get("seconds", 0.0)
        print(f"{config.name:40} {status.get('state', 'new'):9} {step:7}/{config.steps} {seconds:8.0f} s  {scores}")
    return sum(state(config, folder) != "complete" for config in trials)


def state(config: TrialConfig, folder: Path) -> str | None:
    """The state of a trial; None where it has not started."""
    return (read_status(folder / config.trial_id) or {}).get("state")


def copy_records(folder: Path, target: Path) -> None:
    """Copy the small files of every trial."""
    for trial in sorted(path.parent for path in folder.glob("*/config.json")):
        for name in RECORDS:
            source = trial / name
            (target / trial.name).mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target / trial.name / name, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, target / trial.name / name)


if __name__ == "__main__":
    sys.exit(main())
