"""The kinds of input. Each makes, in an empty folder and from a seed, what a command is to be called with.

A case is held to: an exit code that is documented, no traceback, an end within some seconds, nothing of the input lost,
and, where it is refused, words that say what is wrong.
"""

import atexit
import contextlib
import dataclasses
import io
import json
import random
import shutil
import string
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from cissl import train
from cissl.analysis import significance, tables
from cissl.datasets import __main__ as datasets
from cissl.datasets.spec import parse_spec
from cissl.errors import UserError
from cissl.training.trial import run_trial
from cissl.tuning import cli
from tests.analysis.damage import ODD, damage
from tests.analysis.synthetic_records import write_trial

Call = Callable[[], object]
ODD_WORDS = (
    "", " ", "0", "-1", "1e309", "nan", "inf", "1e30", "9" * 400, "true", "null", "~", "[]", "{}", "x", "a=b", "--",
    "-", "日本", "\x1b[31m", "a\nb", "../..", "/dev/null", "s3:/x", "x" * 300, "%s", "{seed}", "1:30", "010", "0x1f",
    "1_000", "5e-1", "cadr", "fixmatch+", "+", "ours.py:X", "digits", "digits.1@40-1", "cifar10_LT_20.1@20-1",
)  # fmt: skip
LARGE_NUMBERS = ("010", "1_000")


@dataclasses.dataclass(frozen=True)
class Case:
    """What is called, and the files that must be there and alike afterwards.

    Attributes:
        call: returns an exit code, or raises `UserError` where the kind is no command.
        kept: input files.
        codes: documented exit codes.
    """

    call: Call
    kept: tuple[Path, ...] = ()
    codes: tuple[int, ...] = (0, 2)


def split_names(folder: Path, r: random.Random) -> Case:
    """Texts like a split's name."""
    text = _mangled(r.choice(["cifar10_LT_20.1@20-1", "digits.1@40-1", "a_N1_10_UREV_5_DISJOINT.0@40+3-1"]), r)
    return Case(lambda: parse_spec(text) and 0)


def sweep_files(folder: Path, r: random.Random) -> Case:
    """Sweep files with changed text or changed values, in a dry run."""
    values = {
        "settings": {"dataset": "digits", "imbalance_ratio": 10, "labeled_size": 11, "train_kimg": 0.1, "lr": 0.1},
        "grid": {"algorithm": ["fixmatch", "cadr"], "seed": [1, 2]},
        "resources": {"cpus": 1},
    }
    if r.random() < 0.4:
        values["search"] = {"space": {"lr": {"uniform": [0.01, 0.1]}}, "trials": 3}
        values["settings"]["valid_size"] = 50
    for _ in range(r.randrange(3)):
        values = _changed(values, r)
    text = yaml.safe_dump(values, allow_unicode=True)
    if r.random() < 0.4:
        text = _mangled(text, r)
    path = folder / "sweep.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    words = ["--set", f"{r.choice(['lr', 'grid.seed', 'name', 'x', 'search.trials'])}={r.choice(ODD_WORDS)}"]
    arguments = [str(path), "--dry-run", "--storage-path", str(folder / "out"), *(words if r.random() < 0.3 else [])]
    return Case(lambda: cli.main(arguments), (path,))


def training_flags(folder: Path, r: random.Random) -> Case:
    """Flags of ``cissl.train`` with odd values; the rest would train for two steps."""
    arguments = (
        "--dataset digits.1@40-1 --filters 2 --repeat 1 --scales 1 --batch 8 --uratio 1 --train_kimg 0.015625 "
        "--report_kimg 0.0078125 --quiet"
    ).split()
    arguments += ["--train-dir", str(folder / "out")]
    for _ in range(r.randrange(1, 3)):
        flag = r.choice(arguments[::2][:9] + ["--algorithm", "--lr", "--augment", "--arch", "--seed", "--device"])
        value = r.choice(ODD_WORDS)
        if flag in arguments and r.random() < 0.8:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [_mangled(flag, r), value] if r.random() < 0.3 else [flag, value]
    if any(word in arguments for word in LARGE_NUMBERS):  # what they make large might train for long
        arguments += ["--train_kimg", "0.0078125", "--filters", "2", "--repeat", "1", "--batch", "8", "--uratio", "1"]
    return Case(lambda: train.main(arguments), codes=(0, 1, 2))


def own_folders(folder: Path, r: random.Random) -> Case:
    """Folders and zip archives of images with damaged, odd or missing parts."""
    root = folder / "images"
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(3):
                _image(root / part / name / f"{number}{r.choice(['.png', '.jpg', '.bmp'])}", r)
    files = sorted(root.rglob("*.*"))
    for path in r.sample(files, r.randrange(3)):
        _spoil(path, r)
    if r.random() < 0.15:
        shutil.rmtree(root / r.choice(["train", "test", "train/cat", "test/dog"]))
    source = root
    if r.random() < 0.3:
        source = folder / "images.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in sorted(root.rglob("*")):
                if path.is_file():
                    archive.write(path, r.choice(["", "top/", "__MACOSX/", ""]) + str(path.relative_to(root)))
        if r.random() < 0.3:
            source.write_bytes(_flipped(source.read_bytes(), r))
    return _import(source, folder, r)


def own_arrays(folder: Path, r: random.Random) -> Case:
    """``.npz`` files with arrays of wrong shapes, types, names or labels."""
    arrays = {}
    for part, count in (("train", 20), ("test", 6)):
        arrays[f"{part}_images"] = (
            np.zeros((count, 8, 8, 3), np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None]
        )
        arrays[f"{part}_labels"] = np.arange(count) % 2
    for _ in range(r.randrange(3)):
        name = r.choice(list(arrays))
        arrays[name] = _odd_array(arrays[name], r)
        if r.random() < 0.2:
            arrays[r.choice(["unlabeled_images", "class_names", "x", name + "s"])] = arrays.pop(name)
    path = folder / "data.npz"
    with contextlib.suppress(ValueError):
        np.savez(path, **arrays)
    if not path.exists() or r.random() < 0.2:
        path.write_bytes(_flipped(path.read_bytes() if path.exists() else b"PK", r))
    return _import(path, folder, r)


def records(folder: Path, r: random.Random) -> Case:
    """Damaged records of trials and searches, through the analysis."""
    for seed in (1, 2):
        write_trial(folder / "sweep", seed=seed, rows=3, algorithm=r.choice(["fixmatch", "cadr"]))
    (folder / "sweep" / "search.json").write_text(json.dumps({"metric": "valid_accuracy", "candidates": []}))
    damage(folder / "sweep", r.randrange(2**32))
    kept = tuple(path for path in folder.rglob("*") if path.is_file())
    command = r.choice([tables, tables, significance])
    arguments = [str(folder / "sweep")]
    if command is tables:
        arguments += r.choice([[], ["--search"], ["--format", "latex"], ["--columns", r.choice(ODD_WORDS)]])
    return Case(lambda: command.main(arguments), kept, codes=(0, 1, 2))


def checkpoints(folder: Path, r: random.Random) -> Case:
    """Damaged checkpoints and records of a trial that is to go on."""
    trial = _half_trained()
    shutil.copytree(trial.parent, folder / "out")
    if r.random() < 0.5:
        path = r.choice(sorted((folder / "out").rglob("*.pt")))
        path.write_bytes(_flipped(path.read_bytes(), r) if r.random() < 0.7 else b"")
    else:
        inside = folder / "out" / trial.name
        shutil.rmtree(inside / "tensorboard", ignore_errors=True)
        damage(inside, r.randrange(2**32))
    arguments = [*TRIAL, "--train-dir", str(folder / "out")]
    return Case(lambda: train.main(arguments), codes=(0, 1, 2))


KINDS: dict[str, Callable[[Path, random.Random], Case]] = {
    "split-names": split_names,
    "sweep-files": sweep_files,
    "training-flags": training_flags,
    "own-folders": own_folders,
    "own-arrays": own_arrays,
    "records": records,
    "checkpoints": checkpoints,
}

TRIAL = (
    "--dataset digits.1@40-1 --filters 2 --repeat 1 --scales 1 --batch 8 --uratio 1 --train_kimg 0.0234375 "
    "--report_kimg 0.0078125 --save_kimg 0.0078125 --keep_training_state true --quiet"
).split()


@cache
def _half_trained() -> Path:
    """A trial's folder as an interruption after two of three steps leaves it."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = train.make_config(train.parse(TRIAL))

    def interrupt(row):
        if row["step"] == 2:
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with contextlib.suppress(KeyboardInterrupt):
        run_trial(config, folder / config.trial_id, device="cpu", on_evaluation=interrupt)
    torch.set_num_threads(threads)
    return folder / config.trial_id


def _import(source: Path, folder: Path, r: random.Random) -> Case:
    kept = tuple(p for p in ([source] if source.is_file() else source.rglob("*")) if p.is_file())
    name = r.choice(["own", "own", "own", *ODD_WORDS])
    more = r.choice([[], [], [], ["--side", r.choice(ODD_WORDS)], ["--weak", r.choice(ODD_WORDS)]])
    arguments = ["import", name, str(source), "--data-dir", str(folder / "data"), *more]
    return Case(lambda: datasets.main(arguments), kept)


def _changed(value: object, r: random.Random) -> object:
    """The value with one entry, at any depth, taken out, renamed or replaced by something odd."""
    if isinstance(value, dict) and value and r.random() < 0.85:
        value = dict(value)
        key = r.choice(list(value))
        way = r.random()
        if way < 0.15:
            del value[key]
        elif way < 0.3:
            value[_mangled(str(key), r)] = value.pop(key)
        else:
            value[key] = _changed(value[key], r)
        return value
    if isinstance(value, list) and value and r.random() < 0.7:
        place = r.randrange(len(value))
        return [*value[:place], _changed(value[place], r), *value[place + r.randrange(2) :]]
    odd = r.choice([*ODD, *ODD_WORDS])
    return odd.replace("\ud800", "?") if isinstance(odd, str) else odd


def _mangled(text: str, r: random.Random) -> str:
    """The text with a few characters changed, doubled or taken out."""
    characters = list(text)
    for _ in range(r.randrange(1, 4)):
        place = r.randrange(len(characters) + 1)
        new = r.choice(string.punctuation + string.digits + "\t\né日 ")
        characters[place : place + r.randrange(3)] = [new] * r.randrange(3)
    return "".join(characters)


def _flipped(data: bytes, r: random.Random) -> bytes:
    data = bytearray(data[: r.randrange(len(data) + 1)] if r.random() < 0.4 else data)
    for _ in range(r.randrange(5)):
        if data:
            data[r.randrange(len(data))] = r.randrange(256)
    return bytes(data)


def _image(path: Path, r: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    modes = ["RGB", "L", "RGB"] + (["RGBA", "P", "LA", "1", "I;16"] if path.suffix == ".png" else [])
    mode = r.choice(modes)
    size = (8, 8) if r.random() < 0.97 else (r.randrange(1, 12), r.randrange(1, 12))
    pixels = np.frombuffer(r.randbytes(12 * 12 * 3), np.uint8).reshape(12, 12, 3)[: size[1], : size[0]]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    image.save(path)


def _spoil(path: Path, r: random.Random) -> None:
    way = r.randrange(7)
    if way == 0:
        path.write_bytes(b"")
    elif way == 1:
        path.write_bytes(_flipped(path.read_bytes(), r))
    elif way == 2:
        path.rename(path.with_suffix(r.choice([".txt", ".PNG", "", ".jpeg2", ".tif"])))
    elif way == 3:
        path.unlink()
        path.symlink_to(r.choice([path.parent, path.parent.parent, Path("/nowhere"), Path("loop")]))
    elif way == 4:
        path.rename(path.with_name(r.choice([".hidden.png", "._0.png", "Thumbs.db", "a b'.png", "日本.png"])))
    elif way == 5:
        inner = path.parent / r.choice(["more", ".git", "a b"])
        inner.mkdir(exist_ok=True)
        path.rename(inner / path.name)
    else:
        path.write_bytes(r.randbytes(100))


def _odd_array(array: np.ndarray, r: random.Random) -> np.ndarray:
    """Of another shape or type; one that is odd already may be beyond a second change."""
    ways: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a[:0],
        lambda a: a[:-1],
        lambda a: a.astype(float),
        lambda a: a.astype(np.int64) - 1,
        lambda a: a.astype(np.int64) + 1,
        lambda a: a.astype(str),
        lambda a: a.astype(object),
        lambda a: a[None],
        lambda a: a.T,
        lambda a: a.astype(np.uint16) * 300,
        lambda a: np.array(3),
        lambda a: np.full(a.shape, np.nan),
        lambda a: a.astype(bool),
    ]
    try:
        return r.choice(ways)(array)
    except (ValueError, TypeError, IndexError):
        return array


def outcome(case: Case) -> tuple[int | None, str]:
    """Run a case; its exit code, None for an error that nobody caught, and all that it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = case.call()
        except UserError as error:
            code = 2
            print(f"error: {error}")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 2
            print(end.code if isinstance(end.code, str) else "")
    return code, out.getvalue()
