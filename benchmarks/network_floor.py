"""The least that a step can cost: forward, backward and update of the network alone, on random data in memory.

    python benchmarks/network_floor.py
    python benchmarks/network_floor.py --modes fp32 bf16 bf16+compile

Modes are those of the settings `precision` and `compile`. ``whole step`` is the protocol's step with full CADR, in the
same mode and process. It takes turns with the bare network.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import median, parser, prepare, protocol_trainer, report, seconds

from cissl.training.trainer import Trainer

MODES = ("fp32", "bf16", "fp32+compile", "bf16+compile")


def main() -> None:
    """Print a row for each mode."""
    made = parser(__doc__)
    made.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    arguments = made.parse_args()
    device = prepare(arguments)
    rows = [measure(mode, device, arguments.repeats) for mode in arguments.modes]
    report(arguments, rows, batch=960)


def measure(mode: str, device: torch.device, repeats: int) -> dict[str, float | str]:
    """Measure the bare network and the whole step in turns; returns a row of the table."""
    trainer = protocol_trainer(device, precision=mode.partition("+")[0], compile=mode.endswith("compile"))
    step = bare_step(trainer)
    for function in (step, trainer.train_step):
        seconds(function, device, repeats=0, warmup=2)
    bare, whole = [], []
    for _ in range(repeats):
        bare += seconds(step, device, 1, warmup=0)
        whole += seconds(trainer.train_step, device, 1, warmup=0)
    ratio = median([b / a for a, b in zip(bare, whole, strict=True)])
    return {
        "mode": mode,
        "bare network (ms)": 1e3 * median(bare),
        "whole step (ms)": 1e3 * median(whole),
        "whole / bare": ratio,
    }


def bare_step(trainer: Trainer) -> Callable[[], None]:
    """A function that makes one update of the trainer's own network by plain cross-entropy."""
    config, learner = trainer.config, trainer.learner
    count = config.batch * (1 + 2 * config.uratio)
    images = torch.randn(count, 3, 32, 32, device=trainer.device)
    targets = torch.randint(0, 10, (count,), device=trainer.device)

    def step() -> None:
        learner.model.train()
        loss = F.cross_entropy(learner.train_forward([images])[0], targets)
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()

    return step


if __name__ == "__main__":
    main()
