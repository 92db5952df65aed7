"""What the benchmarks of the training step share: the protocol's step on random images, timing and reports."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cissl.config import TrialConfig
from cissl.datasets import Dataset
from cissl.training.device import prepare_process
from cissl.training.provenance import provenance
from cissl.training.trainer import Trainer

PROTOCOL = "cifar10_LT_100.1@100-1"  # WRN-28-2, 64 labeled + 448 × 2 unlabeled images of 32×32: the defaults


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks of the training step have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="[%(default)s]")
    made.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[all, %(default)s]")
    made.add_argument("--repeats", type=int, default=5, help="how often each figure is measured [%(default)s]")
    made.add_argument("--json", type=Path, help="where the figures go too")
    return made


def prepare(arguments: argparse.Namespace) -> torch.device:
    """Set up threads and process as in a trial; returns the device."""
    torch.set_num_threads(arguments.threads)
    prepare_process()
    return torch.device(arguments.device)


def random_dataset(side: int = 32, classes: int = 10, images: int = 50_000) -> Dataset:
    """Noise in the shape of CIFAR-10, uint8 (N, side, side, 3): the cost of a step does not depend on the images."""
    draw = np.random.default_rng(0)
    config = TrialConfig(dataset=PROTOCOL)
    labels = np.arange(images) % classes
    shape = (side, side, 3)
    return Dataset(
        spec=config.spec,
        name=config.spec.name,
        class_names=[str(number) for number in range(classes)],
        images=draw.integers(0, 256, (images, *shape), dtype=np.uint8),
        labels=labels,
        labeled=np.arange(250),
        unlabeled=np.arange(1, images),
        valid=np.arange(1),
        test_images=draw.integers(0, 256, (10_000, *shape), dtype=np.uint8),
        test_labels=np.arange(10_000) % classes,
        mirror=True,
        shift=4,
        content_hash="noise",
        reading={},
    )


def protocol_trainer(device: torch.device, *, images: int = 50_000, at: float = 0, **settings: Any) -> Trainer:
    """A trial of the protocol, full CADR unless the settings say otherwise.

    Args:
        device: where it trains.
        images: size of the data set.
        at: share of the training that counts as done, though nothing was learned.
        settings: of the trial.
    """
    config = TrialConfig(**{"dataset": PROTOCOL, "algorithm": "cadr", **settings})
    trainer = Trainer(config, random_dataset(images=images), device)
    if at:
        trainer.step = round(at * config.steps)
        while trainer.schedule.at(trainer.step).stage > trainer._stage:
            trainer._between_steps()
        trainer.step += 1  # not a step in which work falls due that is done every so many steps
    return trainer


def seconds(
    function: Callable[[], Any],
    device: torch.device,
    repeats: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Times of some calls on a clock, after others that are not counted."""
    for _ in range(warmup):
        function()
    return [_time(function, device, clock) for _ in range(repeats)]


def _time(function: Callable[[], Any], device: torch.device, clock: Callable[[], float]) -> float:
    synchronise(device)
    began = clock()
    function()
    synchronise(device)
    return clock() - began


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def size(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides the size of a step."""
    return {key: getattr(arguments, key) for key in ("batch", "filters", "precision", "compile")}


def largest_memory(device: torch.device) -> float:
    """MB that this process has had at most, on its device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    kilo = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo / 2**20


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """The machine that the figures were measured on."""
    facts = provenance()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "hardware": facts["hardware"],
        "threads": arguments.threads,
        "load": load,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": facts["commit"],
    }


def report(arguments: argparse.Namespace, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Print rows as a table below the machine, and write both as JSON if the user wants it."""
    found = machine(arguments)
    print(", ".join(f"{key} {value}" for key, value in {**found, **facts}.items()) + "\n")
    columns = list(rows[0])
    print(f"| {' | '.join(columns)} |\n|{'|'.join('---' for _ in columns)}|")
    for row in rows:
        print(f"| {' | '.join(_text(row[column]) for column in columns)} |")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": found, **facts, "rows": rows}, indent=2) + "\n")


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
