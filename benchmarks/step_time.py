"""What one training step costs, whole and by part: the protocol's step, full CADR.

    python benchmarks/step_time.py                                   # exact float32
    python benchmarks/step_time.py --precision bf16 --compile        # the fast settings
    python benchmarks/step_time.py --evaluation                      # and one evaluation of 10 000 images
    python benchmarks/step_time.py --algorithm all                   # every method beside FixMatch
    python benchmarks/step_time.py --algorithm all --batch 16 --images 2000 --cpu-time --threads 1   # small, while busy
    python benchmarks/step_time.py --calls                           # what a GPU would be asked for, seen without one

Each part is called by itself, on the same batch, and measured `--repeats` times; the whole step is measured between
them. Shares are of the whole step's median.

Of several methods (``all``, or names with commas between) each has a process of its own, in which its steps and
FixMatch's take turns. The table has the images of a step that pass through the network, forward and back or forward
alone; what they cost as a multiple of FixMatch's (``needs``: a backward pass costs two forward ones); what the step
costs (``takes``), and how much that is above. Steps are taken at the share `--at` of the training, past warm-ups.
What is done every so many steps, such as DARP's refinement (`darp.py`) and Adsh's survey, is not in the medians.
Memory is the process's largest resident set with the method alone, on a GPU the largest allocation.

`--calls` measures no time: it counts, for every method, device calls by part of the step (`cissl.testing.device_calls`
says what one is) and what travels to the GPU. ``outside`` are all calls but those of the network's own forward and
backward passes; ``waits`` are those for which the host waits. A dash: the step reads a value back, which a pretended
GPU cannot give. With `--compile` calls are counted as if the compiler fused none.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from common import (
    PROTOCOL,
    largest_memory,
    median,
    parser,
    prepare,
    protocol_trainer,
    random_dataset,
    report,
    seconds,
    size,
    synchronise,
)
from torch._subclasses.fake_tensor import DataDependentOutputException

from cissl.algorithms.cards import ADD_ON, BASE, built_in
from cissl.config import TrialConfig
from cissl.testing.device_calls import PARTS, count_step
from cissl.training.optim import update_ema
from cissl.training.trainer import Trainer


def main() -> None:
    """Measure what the options say."""
    arguments = parse()
    device = prepare(arguments)
    names = every_method() if arguments.algorithm in (None, "all") else arguments.algorithm.split(",")
    if arguments.calls:
        report(arguments, [calls(name, arguments.compile) for name in names], compile=arguments.compile)
    elif arguments.worker:
        print(json.dumps(dataclasses.asdict(measured_beside_fixmatch(arguments, device))))
    elif arguments.algorithm and (len(names) > 1 or arguments.algorithm == "all"):
        report(arguments, beside_fixmatch(arguments, names), **size(arguments))
    else:
        by_part(arguments, device, arguments.algorithm or "cadr")


def parse() -> argparse.Namespace:
    """The options of the command line."""
    made = parser(__doc__)
    made.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    made.add_argument("--compile", action="store_true")
    made.add_argument("--algorithm", help="one, several with commas between, or all [cadr; with --calls all]")
    made.add_argument("--calls", action="store_true", help="count device calls and bytes sent instead, without a GPU")
    made.add_argument("--evaluation", action="store_true", help="measure an evaluation of 10 000 images as well")
    several = made.add_argument_group("of several methods")
    several.add_argument("--at", type=float, default=0.9, help="share of the training that is over [%(default)s]")
    several.add_argument("--batch", type=int, default=64, help="labeled images of a step [%(default)s]")
    several.add_argument("--filters", type=int, default=32, help="of the network [%(default)s]")
    several.add_argument("--images", type=int, default=50_000, help="of the data set [%(default)s]")
    several.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that is busy otherwise")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made.parse_args()


def by_part(arguments: argparse.Namespace, device: torch.device, algorithm: str) -> None:
    """Print a row for one method's whole step, and for each part of it."""
    settings = dict(precision=arguments.precision, compile=arguments.compile, algorithm=algorithm)
    trainer = protocol_trainer(device, **settings)
    whole = seconds(trainer.train_step, device, arguments.repeats, warmup=2)
    parts = {name: seconds(part, device, arguments.repeats) for name, part in make_parts(trainer).items()}
    total = median(whole)
    rows = [row("whole step", whole, total), *(row(name, times, total) for name, times in parts.items())]
    if arguments.evaluation:
        (once,) = seconds(trainer.evaluate, device, 1, warmup=0)
        interval = trainer.config.report_steps * total
        rows.append({"part": f"evaluation, every {trainer.config.report_steps} steps", "ms": 1e3 * once})
        rows[-1] |= {"fastest": 1e3 * once, "share %": 100 * once / (once + interval)}
    report(arguments, rows, **settings)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one method's step costs.

    Attributes:
        both_ways: images that pass through a network in a step with gradient.
        forward: images that pass without gradient.
        seconds: median time of the step.
        fixmatch: median time of FixMatch's steps, which take turns with it, in seconds.
        megabytes: memory, see the head of this file.
    """

    both_ways: int
    forward: int
    seconds: float
    fixmatch: float
    megabytes: float

    @property
    def passes(self) -> int:
        """Number of forward passes that cost as much as all passes of the step."""
        return 3 * self.both_ways + self.forward


def beside_fixmatch(arguments: argparse.Namespace, names: list[str]) -> list[dict[str, Any]]:
    """A row for every method; those that cost most in comparison with their passes come first."""
    costs = {name: cost_of(name) for name in dict.fromkeys(["fixmatch", *names])}
    own = costs["fixmatch"]
    rows = []
    for name, cost in costs.items():
        needs, takes = cost.passes / own.passes, cost.seconds / cost.fixmatch
        rows.append(
            {
                "algorithm": name,
                "forward and back": cost.both_ways,
                "forward alone": cost.forward,
                "needs": needs,
                "takes": takes,
                "above %": 100 * (takes / needs - 1),
                "MB": cost.megabytes,
                "× FixMatch's": cost.megabytes / own.megabytes,
            }
        )
    return sorted(rows, key=lambda row: -row["above %"])


def cost_of(name: str) -> Cost:
    """Measure one method in a process of its own, with the same options."""
    command = [sys.executable, __file__, *sys.argv[1:], "--algorithm", name, "--worker"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(f"{name}: {process.stdout.strip()}", file=sys.stderr, flush=True)
    return Cost(**json.loads(process.stdout))


def measured_beside_fixmatch(arguments: argparse.Namespace, device: torch.device) -> Cost:
    """Measure the method `arguments.algorithm` in this process."""
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    small = dict(images=arguments.images, at=arguments.at, **size(arguments))
    trainer = protocol_trainer(device, algorithm=arguments.algorithm, **small)
    trainer.train_step()
    counted = counted_passes(trainer)
    megabytes = largest_memory(device)
    fixmatch = protocol_trainer(device, algorithm="fixmatch", **small)
    fixmatch.train_step()
    times: dict[str, list[float]] = {"seconds": [], "fixmatch": []}
    for _ in range(arguments.repeats):
        for name, each in (("seconds", trainer), ("fixmatch", fixmatch)):
            synchronise(device)
            began = clock()
            each.train_step()
            synchronise(device)
            times[name].append(clock() - began)
    return Cost(*counted, **{name: median(values) for name, values in times.items()}, megabytes=megabytes)


def counted_passes(trainer: Trainer) -> tuple[int, int]:
    """Images of one step that pass through a network with gradient, and without."""
    learner, counts = trainer.learner, {True: 0, False: 0}

    def counting(function: Callable[..., Any], images_of: Callable[[Any], int]) -> Callable[..., Any]:
        def counted(images: Any, **options: Any) -> Any:
            outputs = function(images, **options)
            counts[outputs[0].requires_grad] += images_of(images)
            return outputs

        return counted

    originals = learner.train_forward, learner.average_forward
    learner.train_forward = counting(originals[0], lambda parts: sum(map(len, parts)))
    learner.average_forward = counting(originals[1], len)
    trainer.train_step()
    learner.train_forward, learner.average_forward = originals
    return counts[True], counts[False]


def every_method() -> list[str]:
    """CADR, every base, and FixMatch with every add-on."""
    cards = built_in().values()
    bases = [card.name for card in cards if card.kind == BASE]
    add_ons = ["+".join(["fixmatch", *card.needs, card.name]) for card in cards if card.kind == ADD_ON]
    return ["cadr", *bases, *add_ons]


def calls(algorithm: str, compiled: bool) -> dict[str, Any]:
    """Device calls, waits and bytes sent in one step of the protocol."""
    config = TrialConfig(dataset=PROTOCOL, algorithm=algorithm, compile=compiled)
    try:
        counted = count_step(config, random_dataset(images=5000))
    except DataDependentOutputException:
        return {"algorithm": algorithm} | dict.fromkeys(("outside", "waits", *PARTS, "copies", "bytes sent"), "–")
    sizes = [size for _, size, _ in counted.sent]
    parts = {part: counted.calls[part] for part in PARTS}
    return (
        {"algorithm": algorithm, "outside": counted.outside, "waits": len(counted.waiting)}
        | parts
        | {"copies": len(sizes), "bytes sent": sum(sizes)}
    )


def row(name: str, times: list[float], total: float) -> dict[str, float | str]:
    """A row of the table, from seconds."""
    return {
        "part": name,
        "ms": 1e3 * median(times),
        "fastest": 1e3 * min(times),
        "share %": 100 * median(times) / total,
    }


def make_parts(trainer: Trainer) -> dict[str, Callable[[], object]]:
    """The parts of `Trainer.train_step`, which can be called any number of times."""
    learner = trainer.learner
    batch = trainer._batch()
    views, probes = trainer._augmented(batch)

    def forward():
        return learner.losses(trainer._step(batch, views))

    def forward_and_backward():
        forward().total.backward()

    def update():
        learner.optimizer.step()
        update_ema(learner.ema_model, learner.model, trainer.config.ema_decay)

    parts = {
        "batch assembly and draws": trainer._batch,
        "views, and CTAugment's probes": lambda: trainer._augmented(batch),
        "forward and losses": forward,
        "forward, losses and backward": forward_and_backward,
        "optimizer and moving average": update,
    }
    return parts | (
        {"scoring CTAugment's probes": lambda: trainer._update_rates(probes, batch.targets)} if probes else {}
    )


if __name__ == "__main__":
    main()
