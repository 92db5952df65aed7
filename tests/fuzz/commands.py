"""Names of splits, sweep files, and the words on command lines."""

import argparse
import random
from pathlib import Path

import numpy as np
import yaml

from cissl import train
from cissl.algorithms import __main__ as algorithms
from cissl.analysis import curves, report, significance, tables
from cissl.datasets import __main__ as datasets
from cissl.datasets.spec import parse_spec
from cissl.testing import __main__ as testing
from cissl.tuning import cli
from tests.analysis.synthetic_records import write_trial
from tests.fuzz.case import Case
from tests.fuzz.odd import WORDS, changed, mangled, spellings

TRAIN = (
    "--dataset digits.1@40-1 --filters 2 --repeat 1 --scales 1 --batch 8 --uratio 1 --train_kimg 0.015625 "
    "--report_kimg 0.0078125 --quiet"
).split()
MORE_FLAGS = ("--algorithm", "--lr", "--augment", "--arch", "--seed", "--device", "--train-dir", "--data-dir", "--wd")
LARGE_NUMBERS = ("010", "1_000", "１０", "1:30")
SOURCE = '''\
"""Of our own: é."""
import dataclasses

from torch import nn

from cissl.algorithms.cards import setting
from cissl.algorithms.contract import PseudoLabels
from cissl.algorithms.fixmatch.method import FixMatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    uratio: int = setting(7, "unlabeled images per labeled image", at_least=1)
    wu: float = setting(1.0, "weight of the unlabeled loss", at_least=0)
    cap_ema_momentum: float = setting(0.99, "momentum of the class prior", at_least=0, at_most=1)
    power: float = setting(2.0, "exponent of the confidence", at_least=0)


class Ours(FixMatch):
    title = "Ours"
    Settings = Settings

    def choose(self, step, probabilities):
        confidence, classes = probabilities.max(1)
        weights = confidence**self.settings.power
        step.measured["weight"] = weights.mean()
        return PseudoLabels(classes, weights, probabilities)


class Net(nn.Sequential):
    def __init__(self, classes, filters):
        super().__init__(nn.Flatten(), nn.LazyLinear(filters), nn.ReLU(), nn.Linear(filters, classes))
'''
SWEEP = {
    "settings": {"dataset": "digits", "imbalance_ratio": 10, "labeled_size": 11, "train_kimg": 0.1, "lr": 0.1},
    "grid": {"algorithm": ["fixmatch", "cadr"], "seed": [1, 2]},
    "resources": {"cpus": 1},
}


def split_names(folder: Path, r: random.Random) -> Case:
    """Texts like a split's name."""
    text = mangled(r.choice(["cifar10_LT_20.1@20-1", "digits.1@40-1", "a_N1_10_UREV_5_DISJOINT.0@40+3-1"]), r)
    return Case(call=lambda: parse_spec(text) and 0, culprits=(text,))


def splits(folder: Path, r: random.Random) -> Case:
    """Well-formed names of splits with any numbers, of real data."""

    def number() -> str:
        return str(r.choice([0, 1, 2, 9, 10, 11, 40, 99, 126, 127, 500, 1261, 1262, 1263, 10**6, 10**12, 10**18 - 1]))

    shape = r.choice(["", f"_LT_{number()}", f"_N1_{number()}", "_RAND", f"_LT_{r.uniform(1, 200)}"])
    unlabeled = r.choice(["", "", f"_ULT_{number()}", f"_UREV_{number()}"])
    apart = r.choice(["", "", "_BYSIZE"]) + r.choice(["", "", "_DISJOINT", "_HELDOUT"])
    size = r.choice(["all", number(), number(), number()])
    largest = r.choice(["", f"+{number()}"]) if unlabeled else ""
    text = f"digits{shape}{unlabeled}{apart}.{r.choice([0, 1, 7, 2**32])}@{size}{largest}-{r.choice([1, number()])}"
    return Case(call=lambda: datasets.main(["inspect", text]), culprits=(text, text[text.index("@") :]))


def sweep_files(folder: Path, r: random.Random) -> Case:
    """Sweep files with changed text or changed values, in a dry run."""
    values: object = SWEEP
    if r.random() < 0.4:
        settings = {key: value for key, value in SWEEP["settings"].items() if key != "lr"} | {"valid_size": 50}
        space = {"space": {"lr": {"uniform": [0.01, 0.1]}}, "trials": 3}
        values = {**SWEEP, "settings": settings, "search": space}
    names = []
    for _ in range(r.choice([0, 1, 1, 2])):
        values, more = changed(values, r)
        names += more
    if not isinstance(values, dict) or not values.keys() & SWEEP.keys():  # all of it was replaced
        names.append("sweep.yaml:")
    text = yaml.safe_dump(values, allow_unicode=True)
    if r.random() < 0.3:
        text, names = mangled(text, r), ["sweep.yaml:"]
    path = folder / "sweep.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    override = []
    if r.random() < 0.3:
        key = r.choice(["lr", "grid.seed", "name", "x", "search.trials", "resources.cpus", "dataset", "search.space"])
        override = ["--set", f"{key}={r.choice(WORDS)}"]
        names += ["--set", *key.split(".")]
    arguments = [str(path), "--dry-run", "--storage-path", str(folder / "out"), *override]
    return Case(call=lambda: cli.main(arguments), kept=(path,), culprits=(*names, *map(ascii, names)))


def training_flags(folder: Path, r: random.Random) -> Case:
    """Flags of ``cissl.train`` with odd values; the rest would train for two steps."""
    arguments, changes = [*TRAIN, "--train-dir", str(folder / "out")], []
    for _ in range(r.choice([1, 1, 2])):
        flag, value = r.choice([*TRAIN[:-1:2], *MORE_FLAGS]), r.choice(WORDS)
        if r.random() < 0.2:
            flag = mangled(flag, r)
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, value]
        changes += [flag, flag.lstrip("-").replace("-", "_"), value]
    if any(word in arguments for word in LARGE_NUMBERS):  # what they make large might train for long
        arguments += ["--train_kimg", "0.0078125", "--filters", "2", "--repeat", "1", "--batch", "8", "--uratio", "1"]
    culprits = tuple(part for change in changes for part in spellings(change) if part.strip())
    return Case(call=lambda: train.main(arguments), writes=(folder,), codes=(0, 1, 2), culprits=culprits)


def command_lines(folder: Path, r: random.Random) -> Case:
    """Commands with any of their flags and odd words after them, beside sound input."""
    main, parser, words = r.choice(
        [
            (cli.main, cli._parser(), ["--dry-run", str(_sweep(folder))]),
            (tables.main, tables.parser(), [str(folder / "results")]),
            (tables.main, tables.parser(), [str(folder / "results")]),
            (significance.main, significance.parser(), [str(folder / "results")]),
            (report.main, report.parser(), [str(folder / "results")]),
            (curves.main, curves.parser(), ["--out", "figures", str(folder / "results")]),
            (algorithms.main, algorithms._parser(), ["fixmatch+cap"]),
            (testing.main, testing._parser(), ["--only", "training", "--", "fixmatch"]),
            *[(datasets.main, _parser_of(name), [name, *words]) for name, words in _dataset_words(folder).items()],
        ]
    )
    kept = _results(folder) if "results" in str(words) else ()
    changes = []
    for _ in range(r.choice([0, 1, 1, 2])):
        action = r.choice([action for action in parser._actions if action.dest not in ("help", "only", "all_pairs")])
        value = [] if action.nargs == 0 else [r.choice([*WORDS, *map(str, action.choices or ())])]
        flag = [r.choice(action.option_strings)] if action.option_strings else []
        changes += flag + value
        if flag:  # behind a command's name and before what may be no flag
            place = 1 if main is datasets.main else 0
            words = [*words[:place], *flag, *value, *words[place:]]
        elif value:
            words = [*words[:-1], *value] if r.random() < 0.5 else [*words, *value]
    flags = [word for word in words if word.startswith("--")]
    culprits = {part for change in changes + flags for part in (change.lstrip("-"), *spellings(change))}
    return Case(
        call=lambda: main(words),
        kept=kept,
        writes=(folder,),
        codes=(0, 1, 2),
        culprits=tuple(culprit for culprit in culprits if culprit.strip()),
    )


def own_files(folder: Path, r: random.Random) -> Case:
    """Methods and backbones of one's own, in files that do not hold what they should."""
    lines = SOURCE.splitlines(keepends=True)
    way = r.randrange(8)
    if way == 0:
        del lines[r.randrange(len(lines))]
    elif way == 1:
        lines[r.randrange(len(lines))] = mangled(r.choice(lines), r) + "\n"
    elif way == 2:
        place = r.randrange(len(lines))
        lines[place] = mangled(lines[place], r)
    elif way == 3:
        place = r.randrange(len(lines))
        indent = " " * r.choice([0, 4, 8])
        lines.insert(
            place, indent + r.choice(["return None\n", "raise SystemExit(3)\n", "1 / 0\n", "import nowhere\n"])
        )
    path = folder / "ours.py"
    encoding = r.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"])
    path.write_text("".join(lines), encoding=encoding, errors="replace")
    name = r.choice(
        ["Ours"] * 6 + ["Net", "Settings", "Nope", "", "1", "FixMatch", "dataclasses", "Ours+cap", "Ours+x"]
    )
    file = r.choice(
        ["ours.py"] * 8 + ["./ours.py", "nope.py", "ours", "Ours.py", "sub/ours.py", str(path), "json", "."]
    )
    if r.random() < 0.05:
        path.unlink()
        path.mkdir()
    arch = ["--arch", f"{file}:Net"] if r.random() < 0.3 else []
    sweep = _sweep(folder, algorithm=[f"{file}:{name}"])
    main, *words = r.choice(
        [
            (algorithms.main, f"{file}:{name}"),
            (train.main, *TRAIN, "--train-dir", str(folder / "out"), "--algorithm", f"{file}:{name}", *arch),
            (train.main, *TRAIN, "--train-dir", str(folder / "out"), "--algorithm", f"{file}:{name}", *arch),
            (cli.main, "--dry-run", str(sweep)),
            (testing.main, f"{file}:{name}", "--only", "training"),
        ]
    )
    return Case(
        call=lambda: main(words),
        writes=(folder / "out",),
        codes=(0, 1, 2),
        culprits=(file, name or ":", "ours.py", *[f"'{part}'" for part in name.split("+")[1:]]),
    )


def _parser_of(name: str) -> argparse.ArgumentParser:
    (commands,) = (action for action in datasets._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices[name]


def _dataset_words(folder: Path) -> dict[str, list[str]]:
    """Command → what makes it work; downloads are left out."""
    return {
        "list": [],
        "prepare": ["--from", str(folder), "digits"],
        "import": ["own", str(_arrays(folder))],
        "inspect": ["digits.1@40-1"],
        "verify": ["digits"],
    }


def _arrays(folder: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(20) % 2
    path = folder / "images.npz"
    np.savez(path, train_images=images, train_labels=labels, test_images=images[::-1], test_labels=labels[::-1])
    return path


def _sweep(folder: Path, **grid: list) -> Path:
    path = folder / "sound.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, "grid": {**SWEEP["grid"], **grid}}))
    return path


def _results(folder: Path) -> tuple[Path, ...]:
    for algorithm in ("fixmatch", "cadr"):
        for seed in (1, 2):
            write_trial(folder / "results" / "sweep", algorithm=algorithm, seed=seed, series=[50.0, 60.0])
    return tuple(path for path in (folder / "results").rglob("*") if path.is_file())
