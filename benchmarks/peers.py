"""One step of a method here and in semilearn 0.3.2, in turns on one machine.

    python benchmarks/peers.py --install DIR                 # once: an environment of its own for semilearn (gigabytes)
    python benchmarks/peers.py --peer DIR                    # FixMatch
    python benchmarks/peers.py --peer DIR --algorithm all    # every method that semilearn has too
    python benchmarks/peers.py --peer DIR --algorithm fixmatch+abc,simmatch --batch 8 --cpu-time    # small, while busy

The network is WRN-28-2, with 64 labeled + 448 × 2 unlabeled images of 32×32. Each program has its own data loading and
augmentation; semilearn applies RandAugment image by image in processes of a DataLoader. Each program has a process of
its own. They take turns of `--steps` steps, so that both have the same conditions. The first step of each turn is not
counted, because a DataLoader may have worked ahead during the pause. Together they need 20 GB of memory on a CPU.

semilearn moves every batch to a GPU. On a machine without one these calls do nothing; nothing else is changed. Its
CIFAR loader downloads, so its own data set class and transforms get the random images directly. Its step is that of its
training loop with all hooks, after warm-ups, without evaluation, logging and checkpoints. Ours are steps at 0.9 of the
training. Methods of one name are not always the same: semilearn's MixMatch and its relatives see as many unlabeled
images as `uratio` says, ours as many as in the authors' programs.

`--cpu-time` counts the CPU seconds of each process. semilearn then augments in its own process instead of a
DataLoader's.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("semilearn==0.3.2", "torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
SEMILEARN = "semilearn 0.3.2"
OURS = {
    "exact": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "compiled": {"precision": "bf16", "compile": True},
}
READY = "ready"
# Our name of a method → semilearn's, with settings by which all its parts act from the first step.
PEERS: dict[str, dict[str, Any]] = {
    "supervised": {"algorithm": "fullysupervised"},
    "pi_model": {"algorithm": "pimodel"},
    "mean_teacher": {"algorithm": "meanteacher"},
    "mixmatch": {"algorithm": "mixmatch"},
    "remixmatch": {"algorithm": "remixmatch"},
    "uda": {"algorithm": "uda"},
    "fixmatch": {"algorithm": "fixmatch"},
    "flexmatch": {"algorithm": "flexmatch"},
    "freematch": {"algorithm": "freematch"},
    "softmatch": {"algorithm": "softmatch"},
    "dash": {"algorithm": "dash"},
    "adamatch": {"algorithm": "adamatch"},
    "simmatch": {"algorithm": "simmatch"},
    "comatch": {"algorithm": "comatch"},
    "defixmatch": {"algorithm": "defixmatch"},
    "fixmatch+abc": {"imb_algorithm": "abc"},
    "fixmatch+adsh": {"imb_algorithm": "adsh"},
    "fixmatch+cossl": {"imb_algorithm": "cossl", "cossl_warm_epoch": 0},
    "fixmatch+crest": {"imb_algorithm": "crest", "crest_pro_dist_align": False},
    "fixmatch+crest+": {"imb_algorithm": "crest"},
    "fixmatch+darp": {"imb_algorithm": "darp", "darp_warmup_epochs": 0},
    "fixmatch+daso": {"imb_algorithm": "daso", "daso_num_pretrain_iter": 1},
    "fixmatch+saw": {"imb_algorithm": "saw"},
    "fixmatch+tras": {"imb_algorithm": "tras", "tras_warmup_epochs": 0},
    "debiaspl": {"imb_algorithm": "debiaspl"},
}


def main() -> None:
    """Install semilearn, compare the programs, or be one of them."""
    options = parse()
    if options.install:
        install(options.install)
    elif options.worker:
        work(step_of_semilearn(options) if options.worker == "semilearn" else step_of_cissl(options), options)
    else:
        compare(options)


def parse() -> argparse.Namespace:
    """The options of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--install", type=Path, metavar="DIR", help="make semilearn's environment there")
    made.add_argument("--peer", type=Path, metavar="DIR", help="semilearn's environment")
    made.add_argument("--turns", type=int, default=3, help="[%(default)s]")
    made.add_argument("--steps", type=int, default=3, help="of each turn, the first uncounted [%(default)s]")
    made.add_argument("--loaders", type=int, default=1, help="semilearn's num_workers [%(default)s]")
    made.add_argument("--algorithm", default="fixmatch", help="ours, several with commas between, or all [%(default)s]")
    made.add_argument("--ours", default="exact,bf16,compiled", help="which of these ours are [%(default)s]")
    made.add_argument("--batch", type=int, default=64, help="labeled images of a step [%(default)s]")
    made.add_argument("--images", type=int, default=50_000, help="of the data set [%(default)s]")
    made.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that is busy otherwise")
    made.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[all, %(default)s]")
    made.add_argument("--json", type=Path, help="where the figures go too")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    options = made.parse_args()
    unknown = {*chosen(options)} - PEERS.keys() | {*options.ours.split(",")} - OURS.keys()
    if unknown:
        made.error(f"'{min(unknown)}' is none of {', '.join((*PEERS, *OURS))}")
    return options


def chosen(options: argparse.Namespace) -> list[str]:
    """The methods to compare."""
    return list(PEERS) if options.algorithm == "all" else options.algorithm.split(",")


def install(folder: Path) -> None:
    """Make an environment with semilearn."""
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", *PACKAGES], check=True)


# The process that compares


def compare(options: argparse.Namespace) -> None:
    """Print a row for each program and method."""
    from common import report  # needs torch, which the environment of `--install` alone may lack

    rows, failed = [], []
    for algorithm in chosen(options):
        try:
            rows += compared(algorithm, options)
        except ProgramEnded as error:
            failed.append(f"{algorithm}: {error}")
    facts = {name: getattr(options, name) for name in ("turns", "steps", "batch", "images", "cpu_time")}
    if rows:
        report(options, rows, peer=", ".join(PACKAGES), **facts)
    sys.exit("\n".join(failed) or None)


class ProgramEnded(Exception):
    """One of the programs ended before it had measured."""


def compared(algorithm: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each program with one method."""
    from common import median

    names = [SEMILEARN, *options.ours.split(",")]
    times: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, float] = {}
    with contextlib.ExitStack() as running:  # it closes the programs' input, which ends them
        processes = {name: running.enter_context(start(name, algorithm, options)) for name in names}
        for turn in range(options.turns):
            for name, process in processes.items():
                seconds, memory[name] = take_turn(process, options.steps)
                times[name] += seconds[1:]
                print(f"{algorithm}, turn {turn + 1}: {name}: {times[name][-1]:.2f} s", file=sys.stderr, flush=True)
    theirs = median(times[SEMILEARN])
    return [
        {
            "algorithm": algorithm,
            "program": name if name == SEMILEARN else f"cissl, {name}",
            "s a step": median(values),
            "fastest": min(values),
            "slowest": max(values),
            "times faster": theirs / median(values),
            "MB": memory[name],
        }
        for name, values in times.items()
    ]


def start(name: str, algorithm: str, options: argparse.Namespace) -> subprocess.Popen[str]:
    """Start the process of a program, and wait until it is ready to take turns.

    Raises:
        ProgramEnded: it ended before.
    """
    python = options.peer.absolute() / "bin" / "python" if name == SEMILEARN else sys.executable
    own = ["--algorithm", algorithm, "--worker", "semilearn" if name == SEMILEARN else "cissl"]
    if name in OURS:
        own += ["--ours", name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    process = subprocess.Popen(
        list(map(str, [python, __file__, *sys.argv[1:], *own])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    for line in process.stdout:
        if line.strip() == READY:
            return process
    raise ProgramEnded(f"{name} did not start")


def take_turn(process: subprocess.Popen[str], steps: int) -> tuple[list[float], float]:
    """Let a program make some steps; returns the seconds of each, and the process's memory in MB.

    Raises:
        ProgramEnded: it ended before.
    """
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("{"):  # semilearn prints too
            answer = json.loads(line)
            return answer["seconds"], answer["megabytes"]
    raise ProgramEnded("a program ended in its turn")


# The processes that are compared


def work(step: Callable[[], object], options: argparse.Namespace) -> None:
    """Read numbers of steps from stdin; for each, make these steps and print their seconds and the largest memory."""
    import torch

    cuda = torch.cuda.is_available()
    clock = time.process_time if options.cpu_time else time.perf_counter

    def timed() -> float:
        began = clock()
        step()
        if cuda:
            torch.cuda.synchronize()
        return clock() - began

    timed()
    timed()
    print(f"\n{READY}", flush=True)
    for line in sys.stdin:
        seconds = [timed() for _ in range(int(line))]
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        megabytes = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident
        print("\n" + json.dumps({"seconds": seconds, "megabytes": megabytes}), flush=True)


def step_of_cissl(options: argparse.Namespace) -> Callable[[], object]:
    """A function that makes one step of ours."""
    import torch
    from common import prepare, protocol_trainer

    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = {"batch": options.batch, "algorithm": options.algorithm, **OURS[options.ours]}
    return protocol_trainer(prepare(options), images=options.images, at=0.9, **settings).train_step


def step_of_semilearn(options: argparse.Namespace) -> Callable[[], None]:
    """A function that makes one step of semilearn's."""
    import torch

    torch.set_num_threads(options.threads)
    if not torch.cuda.is_available():
        without_gpu()
    algorithm = semilearn_algorithm(options)
    algorithm.model.train()
    algorithm.call_hook("before_run")
    algorithm.call_hook("before_train_epoch")
    batches = zip(algorithm.loader_dict["train_lb"], algorithm.loader_dict["train_ulb"], strict=False)

    def step() -> None:
        labeled, unlabeled = next(batches)
        algorithm.call_hook("before_train_step")
        batch = algorithm.process_batch(**labeled, **unlabeled)
        algorithm.out_dict, algorithm.log_dict = algorithm.train_step(**batch)
        algorithm.call_hook("after_train_step")
        algorithm.it += 1

    return step


def semilearn_algorithm(options: argparse.Namespace) -> Any:
    """semilearn's object for the method, past its warm-ups."""
    import torch
    from semilearn import get_algorithm, get_config, get_net_builder
    from semilearn.imb_algorithms import get_imb_algorithm

    give_random_images(options)
    config = get_config(
        dict(
            algorithm="fixmatch",
            net="wrn_28_2",
            batch_size=options.batch,
            uratio=7,
            num_train_iter=100_000,
            num_eval_iter=10**9,
            num_log_iter=10**9,
            num_workers=0 if options.cpu_time else options.loaders,
            num_labels=250,
            num_classes=10,
            img_size=32,
            crop_ratio=0.875,
            hard_label=True,
            use_cat=True,
            amp=False,
            gpu=0 if torch.cuda.is_available() else "cpu",
            rank=0,
            distributed=False,
            world_size=1,
            ema_m=0.999,
            dataset="random",
        )
        | PEERS[options.algorithm]
    )
    build = get_imb_algorithm if config.imb_algorithm else get_algorithm
    algorithm = build(config, get_net_builder(config.net, from_name=False), tb_log=None, logger=None)
    if config.imb_algorithm:  # these expect the network inside a wrapper
        algorithm.model, algorithm.ema_model = map(torch.nn.DataParallel, (algorithm.model, algorithm.ema_model))
    if torch.cuda.is_available():
        algorithm.model.cuda()
        algorithm.ema_model.cuda()
    algorithm.epoch = 1
    # What Dash and CoSSL find in their warm-ups, and CReST+ sets in its first generation.
    algorithm.rho_init, algorithm.mixup_prob, algorithm.cur_dist_align_t = 1.0, [0.0] * 10, 0.5
    return algorithm


def without_gpu() -> None:
    """Let semilearn's calls to a GPU do nothing."""
    import torch

    class Event:
        def __init__(self, **_: Any):
            pass

        def record(self) -> None:
            pass

        def elapsed_time(self, _: "Event") -> float:
            return 0.0

    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    torch.cuda.synchronize = lambda *args: None
    torch.cuda.Event = Event


def give_random_images(options: argparse.Namespace) -> None:
    """Replace semilearn's CIFAR-10, whose loader downloads, by random images; the rest stays semilearn's own."""
    import numpy as np
    from semilearn.core.utils import build
    from semilearn.datasets.augmentation import RandAugment
    from semilearn.datasets.cv_datasets.datasetbase import BasicDataset
    from torchvision import transforms

    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (options.images, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(options.images) % 10
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

    def get_dataset(args: Any, algorithm: str, *_: Any, **__: Any) -> dict[str, Any]:
        def made(count: int, *, unlabeled: bool = False) -> BasicDataset:
            return BasicDataset(algorithm, images[:count], labels[:count], 10, weak, unlabeled, strong, False)

        return {
            "train_lb": made(250),
            "train_ulb": made(options.images, unlabeled=True),
            "eval": made(250),
            "test": None,
        }

    for module in list(sys.modules.values()):
        if getattr(module, "get_dataset", None) is build.get_dataset and module is not build:
            module.get_dataset = get_dataset


if __name__ == "__main__":
    main()
