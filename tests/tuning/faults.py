"""Disturb a sweep at random moments, run it again until it is complete, and compare its records with a calm run's.

    python -m tests.tuning.faults --kills 100 [--seed 0] [--folder DIR] [--set 'algorithm=[fixmatch+crest, cadr]']

Disturbances: SIGKILL of a trial's process; SIGKILL, SIGTERM and SIGINT of the driver; SIGKILL of Ray's node daemon.
They are spread over the sweep's steps, not over time, so that machines of any speed meet all of them. Before the sweep
goes on its trials change their order, every file gets another date, as if clocks had been set, and at times the newest
checkpoint of a trial is truncated or filled with noise.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cissl.training.records import read_status
from cissl.training.trial import run_trial
from cissl.tuning import sweep_file
from tests.tuning.conftest import ROOT, TINY, descendants

WEIGHTS = {"trial killed": 6, "driver killed": 2, "driver terminated": 1, "driver interrupted": 1, "node killed": 2}
POLL_S = 0.03
DELAY_S = 0.1  # at most, after a record was seen, so that not only writing is disturbed
SPOIL = 0.3  # odds that a checkpoint is damaged while no driver runs
DECADE_S = 3e8
ORDERED = ("algorithm", "seed")  # axes whose values change places


def undisturbed(sweep: sweep_file.Sweep, folder: Path) -> dict:
    """The records of the same trials, one after the other and without Ray."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for config in sweep.trials:
            run_trial(config, folder / config.trial_id, sweep=sweep.name, device="cpu")
    finally:
        torch.set_num_threads(threads)
    return records(folder)


def records(folder: Path) -> dict:
    """What trials leave for the tables: by trial id its history without times, and its confusion matrices."""
    found = {}
    for trial in sorted(folder.glob("*/history.jsonl")):
        rows = [json.loads(line) for line in trial.read_text().splitlines()]
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
        found[trial.parent.name] = history, np.load(trial.parent / "confusion.npy").tolist()
    return found


class Disturber:
    """Runs a sweep to its end, in spite of itself.

    Args:
        command: what runs the sweep, or continues it.
        sweep: what it runs.
        folder: of the sweep.
        disturbances: what to do, in this order; see `WEIGHTS`.
        seed: of the moments, and of what else is drawn.
    """

    def __init__(
        self, command: list[str], sweep: sweep_file.Sweep, folder: Path, disturbances: Sequence[str], seed: int
    ):
        self.command, self.sweep, self.folder, self.left = command, sweep, folder, list(disturbances)
        self.random = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.exits: collections.Counter[int] = collections.Counter()

    def run(self) -> None:
        """Run, disturb and run again, until the sweep is complete; a short one may leave some disturbances over."""
        while (code := self._run_once()) != 0:
            self.exits[code] += 1
            self._set_clocks()
            if self.left and self.random.random() < SPOIL:
                self._spoil_a_checkpoint()

    def _run_once(self) -> int:
        process = subprocess.Popen(
            [*self.command, *self._in_another_order()],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=self.folder.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._disturb_until_it_ends(process)
        finally:
            process.kill()
        return process.returncode

    def _in_another_order(self) -> list[str]:
        axes = {key: list(dict.fromkeys(getattr(config, key) for config in self.sweep.trials)) for key in ORDERED}
        for values in axes.values():
            self.random.shuffle(values)
        return [word for key, values in axes.items() for word in ("--set", f"{key}=[{', '.join(map(str, values))}]")]

    def _disturb_until_it_ends(self, process: subprocess.Popen) -> None:
        moment = self._moment()
        while process.poll() is None:
            time.sleep(POLL_S)
            if self.left and self._steps_done() >= moment and self._is_training(process):
                time.sleep(self.random.uniform(0.0, DELAY_S))
                self._disturb(process)
                moment = self._moment()

    def _moment(self) -> float:
        """The step of the next disturbance; a fair share of the steps is left over for each one after it.

        Half a share, since the trials run on until the disturbance is seen to be due, and until the next one is drawn.
        """
        done, steps = self._steps_done(), sum(config.steps for config in self.sweep.trials)
        return done + self.random.random() * 0.5 * (steps - done) / (len(self.left) + 1)

    def _steps_done(self) -> int:
        return sum((read_status(self.folder / config.trial_id) or {"step": 0})["step"] for config in self.sweep.trials)

    def _is_training(self, process: subprocess.Popen) -> bool:
        return any(b"ImplicitFunc.train" in command_line(pid) for pid in descendants(process.pid))

    def _disturb(self, process: subprocess.Popen) -> None:
        kind = self.left[0]
        family = descendants(process.pid)
        words = {"trial killed": b"ImplicitFunc", "node killed": b"/raylet/raylet"}
        if kind in words:
            victims = [pid for pid in family if words[kind] in command_line(pid).split(b" --")[0]]
            number = signal.SIGKILL
        else:
            victims = [process.pid]
            number = {"killed": signal.SIGKILL, "terminated": signal.SIGTERM}.get(kind.split()[1], signal.SIGINT)
        if not victims:
            return
        os.kill(self.random.choice(victims), number)
        self.counts[kind] += 1
        self.left.pop(0)
        print(f"{self._steps_done()} steps, {kind}; {len(self.left)} to go", flush=True)

    def _set_clocks(self) -> None:
        for path in self.folder.rglob("*"):
            moment = time.time() + self.random.uniform(-DECADE_S, DECADE_S)
            os.utime(path, (moment, moment))

    def _spoil_a_checkpoint(self) -> None:
        trials = [path.parent for path in self.folder.glob("*/checkpoints")]
        newest = [max(found) for trial in trials if (found := list((trial / "checkpoints").glob("*.pt")))]
        if newest:
            path = self.random.choice(newest)
            content = path.read_bytes()
            middle = len(content) // 2
            rest = b"" if self.random.random() < 0.5 else self.random.randbytes(len(content) - middle)
            path.write_bytes(content[:middle] + rest)
            self.counts["checkpoint damaged"] += 1


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kimg", type=float, default=16, help="length of each trial; they must outlast the kills")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for sweeps/run.py")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults"))
    file = folder / "tiny.yaml"
    file.write_text(TINY.replace("concurrency: 1", "concurrency: 2"))
    words = ["seed=[1, 2, 3]", *options.set, f"train_kimg={options.kimg}"]
    sweep = sweep_file.load(file, words)
    calm = undisturbed(sweep, folder / "calm")
    command = [sys.executable, ROOT / "sweeps" / "run.py", file, "--storage-path", folder]
    command += [part for word in words for part in ("--set", word)]
    disturbances = random.Random(options.seed).choices(list(WEIGHTS), list(WEIGHTS.values()), k=options.kills)
    disturber = Disturber(list(map(str, command)), sweep, folder / "tiny", disturbances, options.seed)
    began = time.monotonic()
    disturber.run()
    torn = records(folder / "tiny")
    print(f"{sum(disturber.counts.values())} disturbances in {time.monotonic() - began:.0f} s:", dict(disturber.counts))
    if disturber.left:
        print(f"{len(disturber.left)} more did not fit: give a larger --kimg")
    print("exit codes of the runs before the last, which ended with 0:", dict(disturber.exits))
    rows = sum(len(history) for history, _ in calm.values())
    print(f"{len(calm)} trials, {rows} rows:", "identical to the undisturbed sweep" if torn == calm else "DIFFERENT")
    sys.exit(torn != calm or bool(disturber.left))


if __name__ == "__main__":
    main()
