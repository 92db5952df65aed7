"""What a sweep costs beside training: its start, each further trial, and the driver's memory.

    python benchmarks/sweep_overhead.py                         # 10, 100 and 1 000 trials; a quarter of an hour
    python benchmarks/sweep_overhead.py --trials 10 --out overhead.json

Each trial makes four steps of a tiny network on the embedded digits, with an evaluation and a checkpoint after each. It
has one worker, and one trial runs at a time. The first table is of the whole command. A trial's time beyond training is
the time between the ends of two trials, minus the training time that the trial records. The second table shows what Ray
and PyTorch take of a start: a program starts Ray and one trial that trains nothing, step by step.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVALUATIONS = 4
SWEEP = """\
settings:
  {{dataset: digits, imbalance_ratio: 10, labeled_size: 10, algorithm: fixmatch, filters: 4, repeat: 1, scales: 1,
    batch: 8, uratio: 2, train_kimg: 0.03125, report_kimg: 0.0078125, save_kimg: 0.0078125}}
grid: {{seed: {seeds}}}
resources: {{cpus: 1, gpus: 0}}
concurrency: 1
"""
EMPTY = """\
import time
laps, began = {}, time.perf_counter()
def lap(name):
    global began
    laps[name] = time.perf_counter() - began
    began = time.perf_counter()
import torch; lap("import torch")
import ray; from ray import tune; lap("import ray.tune")
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"); lap("ray.init")
def trial(config):
    import torch
    tune.report({"loss": 0.0})
tune.Tuner(trial, run_config=tune.RunConfig(storage_path=FOLDER, verbose=0)).fit(); lap("a trial that imports torch")
ray.shutdown(); lap("ray.shutdown")
import json; print(json.dumps(laps))
"""
CLOCK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print both tables."""
    options = parse()
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("ray", "torch")},
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()), "\n")
    print("| trials | first line | first step | beyond training | end | driver per result | driver's memory |")
    print("|-------:|-----------:|-----------:|----------------:|----:|------------------:|----------------:|")
    rows = []
    for trials in options.trials:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            row = measure(Path(folder), trials)
        rows.append(row)
        print(
            f"| {trials} | {row['first_line_s']:.1f} s | {row['first_step_s']:.1f} s "
            f"| {row['beyond_training_s']:.3f} s | {row['end_s']:.1f} s "
            f"| {1000 * row['driver_cpu_s_per_result']:.1f} ms CPU | {row['driver_mb']:.0f} MB |",
            flush=True,
        )
    laps = empty()
    print("\n| Ray and PyTorch alone | s |\n|-----------------------|--:|")
    print("\n".join(f"| {name} | {seconds:.1f} |" for name, seconds in laps.items()))
    if options.out:
        options.out.write_text(json.dumps({"machine": machine, "sweeps": rows, "alone_s": laps}, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--folder", help="where the records go while it runs [the system's temporary folder]")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    return parser.parse_args()


def measure(folder: Path, trials: int) -> dict[str, float]:
    """Run a sweep of this number of trials; returns times in seconds and memory in MB.

    Raises:
        SystemExit: the sweep failed.
    """
    file = folder / "overhead.yaml"
    file.write_text(SWEEP.format(seeds=list(range(1, trials + 1))))
    command = [sys.executable, str(ROOT / "sweeps" / "run.py"), str(file), "--storage-path", str(folder)]
    log = folder / "log"
    began = time.time()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        first_line, cpu, memory = None, 0.0, 0
        while process.poll() is None:
            if first_line is None and log.stat().st_size:
                first_line = time.time() - began
            cpu, memory = usage(process.pid) or (cpu, memory)
            time.sleep(0.05)
    ended = time.time()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    ends = sorted(path.stat().st_mtime for path in folder.glob("overhead/*/status.json"))
    training = [json.loads(path.read_text())["seconds"] for path in folder.glob("overhead/*/status.json")]
    first_config = min(path.stat().st_mtime for path in folder.glob("overhead/*/config.json"))
    return {
        "trials": trials,
        "first_line_s": first_line,
        "first_step_s": first_config - began,
        "beyond_training_s": (ends[-1] - ends[0]) / (trials - 1) - statistics.fmean(training),
        "end_s": ended - ends[-1],
        "driver_cpu_s_per_result": cpu / (trials * EVALUATIONS),
        "driver_mb": memory / 1e6,
    }


def usage(pid: int) -> tuple[float, int] | None:
    """CPU seconds and peak memory in bytes of a process so far; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    if "VmHWM" not in status:
        return None
    return (int(fields[11]) + int(fields[12])) / CLOCK, 1024 * int(status.partition("VmHWM:")[2].split()[0])


def empty() -> dict[str, float]:
    """Seconds that Ray and PyTorch take to start, to run one trial that trains nothing, and to end, by part."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"FOLDER = {folder!r}\n{EMPTY}"
        quiet = os.environ | {"RAY_AIR_NEW_OUTPUT": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        process = subprocess.run([sys.executable, "-c", code], env=quiet, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
