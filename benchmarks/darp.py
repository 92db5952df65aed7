"""What DARP's refinement costs, on average over the steps between two solves, beside the protocol's step.

    python benchmarks/darp.py                            # 50 000 unlabeled images, 10 classes, every 10 steps
    python benchmarks/darp.py --classes 100 --every 100  # as the authors do for CIFAR-100

The step is FixMatch's, on the same machine and threads. Shares are of this step.
"""

from collections.abc import Callable

import torch
from common import median, parser, prepare, protocol_trainer, report, seconds

from cissl.algorithms.darp.refinery import filtered, solve, target_counts
from cissl.algorithms.maths.row_tables import put_rows


def main() -> None:
    """Print a row for each part of the refinement."""
    made = parser(__doc__)
    made.add_argument("--images", type=int, default=50_000, help="unlabeled images [%(default)s]")
    made.add_argument("--classes", type=int, default=10, help="[%(default)s]")
    made.add_argument("--every", type=int, default=10, help="steps between two solves [%(default)s]")
    made.add_argument("--step-ms", type=float, help="the protocol's step, where it is known")
    arguments = made.parse_args()
    device = prepare(arguments)
    table, counts = problem(arguments.images, arguments.classes, device)
    index, rows = torch.arange(448, device=device), table[:448]
    confident = filtered(table, counts, 2.0)
    parts = {
        "table, each step": (lambda: put_rows(table, index, rows), 1),
        "filter": (lambda: filtered(table, counts, 2.0), arguments.every),
        "solve": (lambda: solve(confident, counts, rounds=10, tolerance=0.1), arguments.every),
    }
    costs = {name: 1e3 * median(seconds(part, device, arguments.repeats)) for name, (part, _) in parts.items()}
    step = arguments.step_ms or 1e3 * median(seconds(fixmatch_step(device), device, arguments.repeats, warmup=2))
    rows = [row(name, costs[name], costs[name] / every, step) for name, (_, every) in parts.items()]
    rows.append(row("DARP", sum(costs.values()), sum(r["ms a step"] for r in rows), step))
    rows.append(row("FixMatch's step", step, step, step))
    report(arguments, rows, images=arguments.images, classes=arguments.classes, every=arguments.every)


def problem(images: int, classes: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions (images, classes) and class counts (classes,) float of a long tail, ratio 100."""
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(images, classes, generator=random) - torch.linspace(0, 4, classes)
    return logits.softmax(1).to(device), target_counts(torch.logspace(0, -2, classes), images).to(device)


def fixmatch_step(device: torch.device) -> Callable[[], object]:
    """A function that makes one step of FixMatch."""
    return protocol_trainer(device, algorithm="fixmatch").train_step


def row(name: str, ms: float, average: float, step: float) -> dict[str, float | str]:
    """A row of the table.

    Args:
        ms: milliseconds of one call.
        average: milliseconds per step.
        step: milliseconds of FixMatch's step.
    """
    return {"part": name, "ms": ms, "ms a step": average, "share %": 100 * average / step}


if __name__ == "__main__":
    main()
