"""How many trials should train on one device at a time: images a second in all, and memory.

    python benchmarks/several_trials.py --precision bf16 --compile               # 1, 2, 4 and 8 at a time on a GPU
    python benchmarks/several_trials.py --numbers 1 3 --algorithm fixmatch
    python benchmarks/several_trials.py --device cpu --numbers 1 2 --batch 4 --filters 8 --images 500    # small

Each trial is the protocol's (full CADR by default) in a process of its own, as under Ray. All begin together and train
for `--seconds`, `--repeats` times; the figures are medians of these windows.

- ``images/s in all``: of all trials, all views of an image counted; ``× one`` compares it with the first row.
- ``slowest``: the speed of the slowest trial as a share of the fastest one's.
- ``MB each``: the most that a trial had, of tensors on a GPU, else of the process.
- ``MB of the device``: what is in use on a GPU while the trials hold their memory, by them and by other programs.

The command stops at the first number that does not fit into the memory. To compare with NVIDIA's MPS, run it once
without and once with the daemon (`nvidia-cuda-mps-control -d`).
"""

import argparse
import copy
import dataclasses
import multiprocessing
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from threading import BrokenBarrierError
from typing import Any

import torch
from common import largest_memory, median, parser, prepare, protocol_trainer, report, size, synchronise

from cissl.training.device import is_out_of_memory
from cissl.training.trainer import Trainer

WARM_UP = 3  # steps
PATIENCE_S = 1800  # for the others to be ready; compiling takes minutes
barrier: Any = None  # of the trials that run together


@dataclasses.dataclass(frozen=True)
class Share:
    """What one of several trials did.

    Attributes:
        speeds: images a second in each window.
        megabytes: see the head of this file.
        device_megabytes: of all trials together; None on a CPU.
    """

    speeds: list[float]
    megabytes: float
    device_megabytes: float | None


def main() -> None:
    arguments = parse()
    rows: list[dict[str, Any]] = []
    for number in arguments.numbers:
        try:
            shares = together(processes(number), number, arguments)
        except Exception as error:
            if not rows or not is_out_of_memory(error):
                raise
            print(f"{number} trials do not fit into the memory: {error}\n")
            break
        rows.append(row(shares, one=rows[0]["images/s in all"] if rows else None))
    facts = {"algorithm": arguments.algorithm, "images": arguments.images, **size(arguments)}
    report(arguments, rows, seconds=arguments.seconds, **facts)


def parse() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--numbers", type=int, nargs="+", default=[1, 2, 4, 8], help="of trials at a time [1 2 4 8]")
    made.add_argument("--seconds", type=float, default=10, help="length of a window [%(default)s]")
    made.add_argument("--algorithm", default="cadr", help="[%(default)s]")
    made.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    made.add_argument("--compile", action="store_true")
    made.add_argument("--batch", type=int, default=64, help="labeled images of a step [%(default)s]")
    made.add_argument("--filters", type=int, default=32, help="of the network [%(default)s]")
    made.add_argument("--images", type=int, default=50_000, help="of the data set [%(default)s]")
    return made.parse_args()


def processes(number: int) -> Executor:
    """As many processes, which share a barrier."""
    context = multiprocessing.get_context("spawn")
    options = dict(mp_context=context, initializer=meet_at, initargs=(context.Barrier(number),))
    return ProcessPoolExecutor(number, **options)


def meet_at(shared: Any) -> None:
    """Tell this process which barrier its trial waits at."""
    global barrier
    barrier = shared


def together(executor: Executor, number: int, arguments: argparse.Namespace) -> list[Share]:
    """What some trials did that trained at the same time.

    Raises:
        Exception: whatever a trial raised first; the others end too.
    """
    own = copy.copy(arguments)
    own.threads = max(1, arguments.threads // number)
    with executor:
        trials = [executor.submit(train, own) for _ in range(number)]
    if error := cause(trials):
        raise error
    return [trial.result() for trial in trials]


def cause(trials: list[Future]) -> BaseException | None:
    """Why the trials failed, if they did: what one of them raised before the others gave up."""
    errors = [error for trial in trials if (error := trial.exception())]
    return min(errors, key=lambda error: isinstance(error, BrokenBarrierError), default=None)


def train(arguments: argparse.Namespace) -> Share:
    """One of several trials; runs in a process of its own."""
    try:
        device = prepare(arguments)
        options = dict(images=arguments.images, algorithm=arguments.algorithm, **size(arguments))
        trainer = protocol_trainer(device, **options)
        for _ in range(WARM_UP):
            trainer.train_step()
        speeds = [speed(trainer, arguments.seconds) for _ in range(arguments.repeats)]
        barrier.wait(PATIENCE_S)  # here all hold their memory
        share = Share(speeds, largest_memory(device), used_memory(device))
        barrier.wait(PATIENCE_S)
        return share
    except BaseException:
        barrier.abort()
        raise


def speed(trainer: Trainer, seconds: float) -> float:
    """Images a second in a window that begins when all trials are ready."""
    synchronise(trainer.device)
    barrier.wait(PATIENCE_S)
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < seconds:
        trainer.train_step()
        steps += 1
    synchronise(trainer.device)
    return steps * trainer._images_at_once() / (time.perf_counter() - began)


def used_memory(device: torch.device) -> float | None:
    """MB of a GPU that are in use, by whomever."""
    if device.type != "cuda":
        return None
    free, there = torch.cuda.mem_get_info(device)
    return (there - free) / 2**20


def row(shares: list[Share], one: float | None) -> dict[str, Any]:
    """The figures of trials that trained at the same time.

    Args:
        shares: theirs.
        one: images a second of the first row, if this is another.
    """
    windows = list(zip(*(share.speeds for share in shares), strict=True))
    in_all = median([sum(window) for window in windows])
    there = max((share.device_megabytes for share in shares if share.device_megabytes), default=None)
    return {
        "trials": len(shares),
        "images/s in all": in_all,
        "× one": in_all / one if one else 1.0,
        "slowest": median([min(window) / max(window) for window in windows]),
        "MB each": max(share.megabytes for share in shares),
        "MB of the device": "–" if there is None else there,
    }


if __name__ == "__main__":
    main()
