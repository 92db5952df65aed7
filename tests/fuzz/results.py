"""Records of trials and searches, through the analysis and the search; checkpoints, through a trial that goes on."""

import atexit
import contextlib
import json
import os
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  (keeps a file in the home, which is another one in a case)
import torch
import yaml

from cissl import train
from cissl.analysis import curves, report, significance, tables
from cissl.config import TrialConfig
from cissl.training.records import read_status
from cissl.training.trial import run_trial
from cissl.tuning import cli, cluster, search, sweep_file
from tests.analysis.damage import damage
from tests.analysis.synthetic_records import write_grid_and_search, write_trial
from tests.fuzz.case import Case
from tests.fuzz.odd import changed, flipped

SETTINGS = {
    "dataset": "digits.1@40-1",
    "filters": 2,
    "repeat": 1,
    "scales": 1,
    "batch": 8,
    "uratio": 1,
    "train_kimg": 0.0234375,  # 3 steps
    "report_kimg": 0.0078125,
    "save_kimg": 0.0078125,
    "keep_training_state": True,
}
TRIAL = [word for key, value in SETTINGS.items() for word in (f"--{key}", str(value))] + ["--quiet"]
SEARCH = {
    "settings": {"dataset": "digits", "valid_size": 20, "labeled_size": 20, "train_kimg": 0.1},
    "grid": {"seed": [1, 2]},
    "search": {"space": {"lr": {"uniform": [0.01, 0.1]}, "adepth": {"choice": [1, 2]}}, "trials": 4},
}


def records(folder: Path, r: random.Random) -> Case:
    """Damaged records of trials and searches, through the analysis."""
    root = folder / "results"
    shutil.copytree(_results(), root)
    damaged = damage(root, r.randrange(2**32))
    form, select = r.choice(["markdown", "latex", "csv", "html"]), r.choice(["last10", "validation-best"])
    main, *words = r.choice(
        [(tables.main, "--format", form, "--select", select, "--published")] * 4
        + [(tables.main, "--search", "--format", form)] * 3
        + [(significance.main,)] * 3
        + [(curves.main, "--out", "figures", "--format", "svg"), (report.main, "--out", "report.html")]
    )
    culprits = [name for path in damaged for name in (path.name, path.parent.name)]
    if main is significance.main:
        culprits.append("the baseline")  # trials of one method with other settings are other rows
    return Case(
        call=lambda: main([str(root), *words]),
        kept=_files(root),
        writes=(folder / "figures", folder / "report.html"),
        codes=(0, 1, 2),
        culprits=tuple(culprits),
    )


def searches(folder: Path, r: random.Random) -> Case:
    """A search that goes on with damaged candidates or records: it loses none, or refuses."""
    root = folder / "sweep"
    shutil.copytree(_search(), root)
    path = root / search.FILE
    if r.random() < 0.6:
        text = json.dumps(changed(json.loads(path.read_text()), r)[0]) if r.random() < 0.7 else None
        path.write_bytes(text.encode() if text else flipped(path.read_bytes(), r))
    else:
        damage(root, r.randrange(2**32))
    before = path.read_bytes() if path.is_file() else None

    def call() -> int:
        study = search.Study(sweep_file.load(root.parent / "sweep.yaml"), root)
        while (config := study.next_trial()) is not None:
            study.ended(config.trial_id)
        return 0

    def nothing_lost(code: int) -> str:
        if code == 2:
            changed = path.is_file() and path.read_bytes() != before
            return f"{path} was changed" if changed else ""
        rows = json.loads(before) if before else []
        numbers = {row["number"] for row in rows} - {row["number"] for row in json.loads(path.read_text())}
        return f"candidates {numbers} were lost" if numbers else ""

    (folder / "sweep.yaml").write_text(yaml.safe_dump(SEARCH))
    return Case(call=call, writes=(root,), culprits=(str(root),), after=nothing_lost)


def checkpoints(folder: Path, r: random.Random) -> Case:
    """Damaged checkpoints and records of a trial that is to go on."""
    trial = _half_trained()
    shutil.copytree(trial.parent, folder / "out")
    _damage_trial(folder / "out" / trial.name, r)
    arguments = [*TRIAL, "--train-dir", str(folder / "out")]
    return Case(call=lambda: train.main(arguments), writes=(folder / "out",), codes=(0, 1, 2), culprits=(trial.name,))


def sweeps(folder: Path, r: random.Random) -> Case:
    """A sweep that goes on, by Ray, with one of its trials complete and another, damaged, half trained."""
    _ray()
    file, grid = folder / "sweep.yaml", {"algorithm": ["cap", "fixmatch"]}
    file.write_text(yaml.safe_dump({"settings": SETTINGS, "grid": grid, "resources": {"cpus": 1}}))
    root = folder / "results" / "sweep"
    shutil.copytree(_half_swept(), root)
    complete, half = sorted(root.iterdir(), key=lambda path: path.name.startswith("fixmatch"))
    damaged = _damage_trial(r.choice([half, half, complete]), r)
    kept = () if complete in damaged[0].parents else _files(complete)

    def only_the_damaged_trial_fails(code: int) -> str:
        states = {path.name: (read_status(path) or {}).get("state") for path in (complete, half)}
        whole = half if complete in damaged[0].parents else complete
        return f"{states}, though {damaged} alone are damaged" if states[whole.name] != "complete" else ""

    return Case(
        call=lambda: cli.main([str(file), "--storage-path", str(folder / "results")]),
        kept=kept,
        writes=(root,),
        codes=(0, 1, 2),
        culprits=tuple(path.name for path in damaged) + (half.name, complete.name),
        after=only_the_damaged_trial_fails,
    )


def _damage_trial(trial: Path, r: random.Random) -> list[Path]:
    """Damage checkpoints or records; which."""
    shutil.rmtree(trial / "tensorboard", ignore_errors=True)
    checkpoints = sorted(trial.rglob("*.pt"))
    if not checkpoints or r.random() < 0.5:
        return damage(trial, r.randrange(2**32))
    path = r.choice(checkpoints)
    path.write_bytes(flipped(path.read_bytes(), r) if r.random() < 0.7 else b"")
    return [path]


def _files(root: Path) -> tuple[Path, ...]:
    return tuple(path for path in root.rglob("*") if path.is_file())


@cache
def _ray() -> None:
    """Ray for all sweeps of this process."""
    os.environ["RAY_worker_niceness"] = "0"  # its workers give way to all other processes, and would never end
    stack, current = contextlib.ExitStack(), Path.cwd()
    os.chdir(_kept_folder())  # the processes that it starts stay there longer than one case
    stack.enter_context(cluster.connected(cluster.Node(cpus=1, gpus=0)))
    os.chdir(current)
    atexit.register(stack.close)


@cache
def _results() -> Path:
    """A sweep with unfinished trials, and a search."""
    return write_grid_and_search(_kept_folder())


@cache
def _search() -> Path:
    """The folder of a search in which two of four candidates have run."""
    root = _kept_folder()
    (root / "sweep.yaml").write_text(yaml.safe_dump(SEARCH))
    folder = root / "sweep"
    study = search.Study(sweep_file.load(root / "sweep.yaml"), folder)
    for _ in range(4):
        config = study.next_trial()
        trial = write_trial(
            folder, folder=config.trial_id, series=[50.0, 60.0], seed=config.seed, dataset=config.dataset
        )
        assert trial.name == config.trial_id
        study.ended(config.trial_id)
    return folder


@cache
def _half_trained() -> Path:
    """A trial's folder as an interruption after two of three steps leaves it."""
    return _trained(train.make_config(train.parse(TRIAL)), _kept_folder(), until=2)


@cache
def _half_swept() -> Path:
    """The folder of a sweep with a complete trial and one that was interrupted."""
    folder = _kept_folder()
    _trained(TrialConfig(**SETTINGS, algorithm="cap"), folder)
    _trained(TrialConfig(**SETTINGS, algorithm="fixmatch"), folder, until=2)
    return folder


def _trained(config: TrialConfig, folder: Path, until: int | None = None) -> Path:
    """Train a trial, until a step if there is one given; its folder."""

    def interrupt(row):
        if row["step"] == until:
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with contextlib.suppress(KeyboardInterrupt):
        run_trial(config, folder / config.trial_id, device="cpu", on_evaluation=interrupt)
    torch.set_num_threads(threads)
    return folder / config.trial_id


def _kept_folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
