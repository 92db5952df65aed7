"""What one training step costs, whole and by part: the protocol's step, full CADR.

    python benchmarks/step_time.py                                   # exact float32
    python benchmarks/step_time.py --precision bf16 --compile        # the fast settings
    python benchmarks/step_time.py --evaluation                      # and one evaluation of 10 000 images
    python benchmarks/step_time.py --calls                           # what a GPU would be asked for, seen without one

Each part is called by itself, on the same batch, and measured `--repeats` times; the whole step is measured between
them. Shares are of the whole step's median.

`--calls` measures no time: it counts, for every method, device calls by part of the step (`cissl.testing.device_calls`
says what one is) and what travels to the GPU. ``outside`` are all calls but those of the network's own forward and
backward passes. A dash: the step reads a value back, which a pretended GPU cannot give.
"""

from typing import Any

from common import PROTOCOL, median, parser, prepare, protocol_trainer, random_dataset, report, seconds
from torch._subclasses.fake_tensor import DataDependentOutputException

from cissl.algorithms.cards import ADD_ON, BASE, built_in
from cissl.config import TrialConfig
from cissl.testing.device_calls import PARTS, count_step
from cissl.training.optim import update_ema
from cissl.training.trainer import Trainer


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    made.add_argument("--compile", action="store_true")
    made.add_argument("--algorithm", help="[cadr; with --calls every one]")
    made.add_argument("--calls", action="store_true", help="count device calls and bytes sent instead, without a GPU")
    made.add_argument("--evaluation", action="store_true", help="measure an evaluation of 10 000 images as well")
    arguments = made.parse_args()
    device = prepare(arguments)
    if arguments.calls:
        report(arguments, [calls(name) for name in ([arguments.algorithm] if arguments.algorithm else every_method())])
        return
    algorithm = arguments.algorithm or "cadr"
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


def every_method() -> list[str]:
    """CADR, every base, and FixMatch with every add-on."""
    cards = built_in().values()
    bases = [card.name for card in cards if card.kind == BASE]
    add_ons = ["+".join(["fixmatch", *card.needs, card.name]) for card in cards if card.kind == ADD_ON]
    return ["cadr", *bases, *add_ons]


def calls(algorithm: str) -> dict[str, Any]:
    """Device calls and bytes sent in one step of the protocol."""
    try:
        counted = count_step(TrialConfig(dataset=PROTOCOL, algorithm=algorithm), random_dataset(images=5000))
    except DataDependentOutputException:
        return {"algorithm": algorithm, "outside": "–"} | dict.fromkeys((*PARTS, "copies", "bytes sent"), "–")
    sizes = [size for _, size, _ in counted.sent]
    parts = {part: counted.calls[part] for part in PARTS}
    return (
        {"algorithm": algorithm, "outside": counted.outside} | parts | {"copies": len(sizes), "bytes sent": sum(sizes)}
    )


def row(name: str, times: list[float], total: float) -> dict:
    return {
        "part": name,
        "ms": 1e3 * median(times),
        "fastest": 1e3 * min(times),
        "share %": 100 * median(times) / total,
    }


def make_parts(trainer: Trainer) -> dict:
    """The parts of `Trainer.train_step`, each to be called any number of times."""
    learner = trainer.learner
    batch = trainer._batches.at(trainer.step)
    views, probes = trainer._augmented(batch)

    def forward():
        return learner.losses(trainer._step(batch, views))

    def forward_and_backward():
        forward().total.backward()

    def update():
        learner.optimizer.step()
        update_ema(learner.ema_model, learner.model, trainer.config.ema_decay)

    parts = {
        "batch assembly": lambda: trainer._batches.at(trainer.step),
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
