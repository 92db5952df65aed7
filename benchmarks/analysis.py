"""How long ``analysis/tables.py`` takes, and how much memory, for a thousand and for ten thousand trials.

    python benchmarks/analysis.py                       # 1 000 and 10 000 trials of 128 evaluations, 10 classes
    python benchmarks/analysis.py --trials 1000 --classes 100

Each trial's folder has the true format, with full-precision numbers. The time is that of the whole command, with the
start of Python. The files were just written, so most of them are cached.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("supervised", "fixmatch", "cap", "cai", "cadr")
RATIOS = (20, 50, 100, 200)
EVALUATIONS = 128
HISTORIES = 50  # different ones, which trials use in turn
SETTINGS = dict(arch="wrn", filters=32, repeat=4, scales=3, bn_decay=0.999, augment="d.d.d", adepth=2, ath=0.8)
SETTINGS |= dict(adecay=0.99, batch=64, uratio=7, lr=0.03, wd=5e-4, wu=1.0, confidence=0.95, ema_decay=0.999)
SETTINGS |= dict(cai_beta=0.5, cap_ema=True, cap_ema_momentum=0.99, upper=5.0, train_kimg=8192.0, report_kimg=64.0)
SETTINGS |= dict(save_kimg=64.0, keep_ckpt=2)
SCALARS = ("lr", "accuracy", "gmean", "valid_accuracy", "valid_gmean", "loss", "loss_labeled", "loss_unlabeled")


def main() -> None:
    """Print a row for each number of trials."""
    arguments = parse()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{EVALUATIONS} evaluations, {arguments.classes} classes, --select {arguments.select}\n")
    print("| trials | records (MB) | time (s) | CPU time (s) | CPU ms per trial | memory (MB) |")
    print("|-------:|-------------:|---------:|-------------:|-----------------:|------------:|")
    for trials in arguments.trials:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            size = write(Path(folder), trials, arguments.classes)
            seconds, cpu, memory = measure(Path(folder), arguments.select)
        each = 1000 * cpu / trials
        numbers = (trials, f"{size / 1e6:.0f}", f"{seconds:.2f}", f"{cpu:.2f}", f"{each:.2f}", f"{memory / 1e6:.0f}")
        print(f"| {' | '.join(map(str, numbers))} |", flush=True)


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Time of analysis/tables.py on synthetic records.")
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--select", default="last10", help="[%(default)s]")
    parser.add_argument("--folder", help="where the records go while it runs [the system's temporary folder]")
    return parser.parse_args()


def write(folder: Path, trials: int, classes: int) -> int:
    """Write the records; returns their size in bytes."""
    generator = np.random.default_rng(0)
    histories = [history(generator, classes) for _ in range(HISTORIES)]
    size = 0
    for k in range(trials):
        method, ratio = METHODS[k % len(METHODS)], RATIOS[k // len(METHODS) % len(RATIOS)]
        seed = k // (len(METHODS) * len(RATIOS))
        size += write_trial(folder / "sweep", method, ratio, seed, histories[k % HISTORIES], classes)
    return size


def history(generator: np.random.Generator, classes: int) -> str:
    """A random ``history.jsonl``."""
    rows = []
    for k in range(1, EVALUATIONS + 1):
        row = {"step": 1024 * k, "kimg": 64.0 * k, **dict(zip(SCALARS, generator.uniform(0, 100, 8), strict=True))}
        row |= {"per_class": generator.uniform(0, 100, classes).tolist(), "mask_ratio": generator.uniform()}
        row |= {"class_prior": generator.dirichlet(np.ones(classes)).tolist(), "seconds": 12.3 * k}
        rows.append(json.dumps(row) + "\n")
    return "".join(rows)


def write_trial(sweep: Path, method: str, ratio: int, seed: int, rows: str, classes: int) -> int:
    """Write one trial; returns the size of its files in bytes."""
    name = f"{method}-cifar10_LT_{ratio}-s{seed}"
    path = sweep / f"{name}-{seed:08x}"
    path.mkdir(parents=True)
    config = {"dataset": f"cifar10_LT_{ratio}.{seed}@{ratio}-1", "algorithm": method, "seed": seed, **SETTINGS}
    identity = {"trial_id": path.name, "name": name, "sweep": sweep.name, "config_hash": path.name[-8:]}
    facts = {"split_hash": f"{ratio:06x}{seed:06x}", "labeled_counts": [ratio] * classes, "classes": classes}
    facts |= {"versions": {"python": "3.11.7", "torch": "2.15.0"}, "commit": "0123abc", "dirty": False}
    status = {"state": "complete", "step": 1024 * EVALUATIONS, "steps": 1024 * EVALUATIONS, "seconds": 1574.4}
    files = {"config.json": json.dumps(identity | {"config": config}), "provenance.json": json.dumps(facts)}
    files |= {"status.json": json.dumps(status | {"error": None}), "history.jsonl": rows}
    for file, text in files.items():
        (path / file).write_text(text)
    return sum(map(len, files.values()))


def measure(folder: Path, select: str) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and peak memory in bytes of one run of the command.

    Raises:
        SystemExit: the command failed.
    """
    command = [sys.executable, str(ROOT / "analysis" / "tables.py"), str(folder), "--select", select]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # the usage of this child alone
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
