"""The same FixMatch step here and in semilearn 0.3.2, side by side on one machine, in turns.

    python benchmarks/peers.py --install DIR     # once: an environment of its own for semilearn (gigabytes)
    python benchmarks/peers.py --peer DIR

WRN-28-2, 64 labeled + 448 × 2 unlabeled images of 32×32, each program with its own data loading and augmentation
(semilearn: RandAugment image by image in processes of a DataLoader). Each program lives in a process of its own; they
take turns of `--steps` steps, so that both see the same machine. The first step of each turn is not counted: while it
paused, a DataLoader may have worked ahead. All of them together need 20 GB of memory on a CPU.

semilearn moves every batch to a GPU. On a machine without one those calls are made to do nothing; nothing else of it
is changed. Its CIFAR loader downloads, so its own data set class and transforms are given the random images directly.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ("semilearn==0.3.2", "torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
OURS = {
    "cissl, exact": (),
    "cissl, bf16": ("bf16",),
    "cissl, bf16 compiled": ("bf16", "compile"),
}
READY = "ready"


def main() -> None:
    options = parse()
    if options.install:
        install(options.install)
    elif options.worker:
        work(step_of_semilearn(options) if options.worker == "semilearn" else step_of_cissl(options))
    else:
        compare(options)


def parse() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--install", type=Path, metavar="DIR", help="make semilearn's environment there")
    made.add_argument("--peer", type=Path, metavar="DIR", help="semilearn's environment")
    made.add_argument("--turns", type=int, default=3, help="[%(default)s]")
    made.add_argument("--steps", type=int, default=3, help="of each turn, the first uncounted [%(default)s]")
    made.add_argument("--loaders", type=int, default=1, help="semilearn's num_workers [%(default)s]")
    made.add_argument("--algorithm", default="fixmatch", help="ours [%(default)s]")
    made.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[all, %(default)s]")
    made.add_argument("--json", type=Path, help="where the figures go too")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    made.add_argument("--ours", default="", help=argparse.SUPPRESS)
    return made.parse_args()


def install(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", *PACKAGES], check=True)


# The process that compares


def compare(options: argparse.Namespace) -> None:
    from common import median, report  # needs torch, which the environment of `--install` alone may lack

    names = ["semilearn 0.3.2", *OURS]
    processes = {name: start(name, options) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(options.turns):
        for name, process in processes.items():
            times[name] += take_turn(process, options.steps)[1:]
            print(f"turn {turn + 1}: {name}: {times[name][-1]:.2f} s a step", file=sys.stderr, flush=True)
    for process in processes.values():
        process.stdin.close()
        process.wait()
    theirs = median(times[names[0]])
    rows = [
        {
            "program": name,
            "s a step": median(values),
            "fastest": min(values),
            "slowest": max(values),
            "times faster": theirs / median(values),
        }
        for name, values in times.items()
    ]
    report(options, rows, turns=options.turns, steps=options.steps, peer=", ".join(PACKAGES), ours=options.algorithm)


def start(name: str, options: argparse.Namespace) -> subprocess.Popen:
    """A program's process, ready to take turns."""
    words = ["--threads", options.threads, "--loaders", options.loaders, "--algorithm", options.algorithm]
    if name in OURS:
        command = [sys.executable, __file__, "--worker", "cissl", "--ours", ",".join(OURS[name]), *words]
    else:
        command = [options.peer.absolute() / "bin" / "python", __file__, "--worker", "semilearn", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stdout:
        if line.strip() == READY:
            return process
    raise SystemExit(f"{name} did not start")


def take_turn(process: subprocess.Popen, steps: int) -> list[float]:
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


# The processes that are compared


def work(step) -> None:
    """Take turns as the other process says: so many steps, their seconds back."""
    import time

    import torch

    def timed() -> float:
        began = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began

    timed()
    timed()
    print(READY, flush=True)
    for line in sys.stdin:
        print(json.dumps([timed() for _ in range(int(line))]), flush=True)


def step_of_cissl(options: argparse.Namespace):
    import torch
    from common import prepare, protocol_trainer

    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    device = prepare(options)
    words = options.ours.split(",")
    precision = "bf16" if "bf16" in words else "fp32"
    trainer = protocol_trainer(device, algorithm=options.algorithm, precision=precision, compile="compile" in words)
    return trainer.train_step


def step_of_semilearn(options: argparse.Namespace):
    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self
    from semilearn import get_algorithm, get_config, get_net_builder
    from semilearn.datasets.augmentation import RandAugment
    from semilearn.datasets.cv_datasets.datasetbase import BasicDataset
    from torchvision import transforms

    config = get_config(
        dict(
            algorithm="fixmatch",
            net="wrn_28_2",
            batch_size=64,
            uratio=7,
            num_train_iter=100_000,
            num_workers=options.loaders,
            num_labels=250,
            num_classes=10,
            img_size=32,
            crop_ratio=0.875,
            hard_label=True,
            T=0.5,
            p_cutoff=0.95,
            use_cat=True,
            amp=False,
            gpu=0,
            rank=0,
            distributed=False,
            world_size=1,
            ema_m=0.999,
            dataset="none",  # built below
        )
    )
    algorithm = get_algorithm(config, get_net_builder(config.net, from_name=False), tb_log=None, logger=None)

    # As its get_cifar does, without the download.
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(50_000) % 10
    crop = [
        transforms.Resize(32),
        transforms.RandomCrop(32, padding=4, padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
    ]
    end = [
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    weak, strong = transforms.Compose([*crop, *end]), transforms.Compose([*crop, RandAugment(3, 5), *end])
    algorithm.dataset_dict = {
        "train_lb": BasicDataset("fixmatch", images[:250], labels[:250], 10, weak, False, strong, False),
        "train_ulb": BasicDataset("fixmatch", images, labels, 10, weak, True, strong, False),
        "eval": BasicDataset("fixmatch", images[:1000], labels[:1000], 10, weak, False, None, False),
        "test": None,
    }
    algorithm.loader_dict = algorithm.set_data_loader()
    algorithm.model.train()
    if torch.cuda.is_available():
        algorithm.model.cuda()
    algorithm.hooks_dict["EMAHook"].before_run(algorithm)
    batches = zip(algorithm.loader_dict["train_lb"], algorithm.loader_dict["train_ulb"], strict=False)

    def step():
        labeled, unlabeled = next(batches)
        algorithm.out_dict, algorithm.log_dict = algorithm.train_step(**algorithm.process_batch(**labeled, **unlabeled))
        algorithm.hooks_dict["ParamUpdateHook"].after_train_step(algorithm)
        algorithm.hooks_dict["EMAHook"].after_train_step(algorithm)
        algorithm.it += 1

    return step


if __name__ == "__main__":
    main()
