"""What one training step costs, whole and by part: the protocol's step, full CADR.

    python benchmarks/step_time.py                                   # exact float32
    python benchmarks/step_time.py --precision bf16 --compile        # the fast settings
    python benchmarks/step_time.py --evaluation                      # and one evaluation of 10 000 images

Each part is called by itself, on the same batch, and measured `--repeats` times; the whole step is measured between
them. Shares are of the whole step's median.
"""

import torch
from common import median, parser, prepare, protocol_trainer, report, seconds

from cissl.training.optim import update_ema
from cissl.training.trainer import Trainer


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    made.add_argument("--compile", action="store_true")
    made.add_argument("--algorithm", default="cadr")
    made.add_argument("--evaluation", action="store_true", help="measure an evaluation of 10 000 images as well")
    arguments = made.parse_args()
    device = prepare(arguments)
    settings = dict(precision=arguments.precision, compile=arguments.compile, algorithm=arguments.algorithm)
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


def row(name: str, times: list[float], total: float) -> dict:
    return {
        "part": name,
        "ms": 1e3 * median(times),
        "fastest": 1e3 * min(times),
        "share %": 100 * median(times) / total,
    }


def make_parts(trainer: Trainer) -> dict:
    """The parts of `Trainer.train_step`, each to be called any number of times."""
    config, learner, augmentation = trainer.config, trainer.learner, trainer.augmentation
    total = config.batch * config.uratio

    def assemble():
        labeled = trainer.dataset.labeled[trainer._labeled.batch(trainer.step, config.batch)]
        unlabeled = trainer.dataset.unlabeled[trainer._unlabeled.batch(trainer.step, total)]
        return labeled, trainer._images.batch(labeled), trainer._images.batch(unlabeled)

    def weak_views():
        labeled = augmentation.labeled(images, trainer._random("labeled", config.batch))
        return labeled, augmentation.weak(unlabeled, trainer._random("weak", total))

    def strong_views():
        random, probe_random = trainer._random("strong", total), trainer._random("probe", config.batch)
        return augmentation.strong_and_probes(unlabeled, random, labeled, probe_random)

    indices, images, unlabeled = assemble()
    targets = torch.from_numpy(trainer.dataset.labels[indices]).to(trainer.device)
    labeled, weak = weak_views()
    strong, *probes = strong_views()

    def forward():
        return learner.losses(labeled, targets, weak, strong)

    def forward_and_backward():
        losses = forward()
        (losses.labeled + config.wu * losses.unlabeled).backward()

    def update():
        learner.optimizer.step()
        update_ema(learner.ema_model, learner.model, config.ema_decay)

    return {
        "batch assembly": assemble,
        "weak views": weak_views,
        "CTAugment + cutout, its probe's too": strong_views,
        "CTAugment's probe": lambda: trainer._score(*probes, targets),
        "forward and losses": forward,
        "forward, losses and backward": forward_and_backward,
        "optimizer and moving average": update,
    }


if __name__ == "__main__":
    main()
