"""Damages records as disks, editors and other programs do: a function of a seed, so that each case can be repeated."""

import json
import random
from pathlib import Path

import numpy as np
import yaml

ODD = [
    None, True, -1, 0, 3.5, 1e308, float("nan"), float("inf"), 10**30, "", "x", "\x1b[31mred", "\ud800", "a\nb", "日本",
    "x" * 500, [], [1],
    [[1, 2], [3]], ["a"], {}, {"a": {"b": []}}, "../../etc", "cifar10_LT_20.1@20-1", "$x$", "%", "|",
]  # fmt: skip


def damage(folder: Path, seed: int) -> list[Path]:
    """Damage one to three files below the folder; which."""
    random_ = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = random_.sample(files, random_.choice([1, 1, 2, 3]))
    for path in chosen:
        random_.choice(_WAYS.get(path.suffix, ()) + (_cut, _flip, _remove, _to_folder, _nest))(path, random_)
    return chosen


def _cut(path, random_):
    data = path.read_bytes()
    path.write_bytes(data[: random_.randrange(len(data) + 1)])


def _flip(path, random_):
    data = bytearray(path.read_bytes())
    for _ in range(random_.randrange(1, 5)):
        data[random_.randrange(len(data))] = random_.randrange(256)
    path.write_bytes(bytes(data))


def _remove(path, random_):
    path.unlink()


def _to_folder(path, random_):
    path.unlink()
    path.mkdir()


def _nest(path, random_):
    path.write_bytes(b"[" * random_.choice([10, 100_000]))


def _change_json(path, random_):
    value = json.loads(path.read_text())
    for _ in range(random_.randrange(1, 4)):
        value = _changed(value, random_)
    path.write_text(json.dumps(value))


def _change_lines(path, random_):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(random_.randrange(1, 4)):
        number = random_.randrange(len(rows))
        rows[number] = _changed(rows[number], random_)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _change_yaml(path, random_):
    path.write_text(json.dumps(_changed(yaml.safe_load(path.read_text()), random_)))


def _change_matrices(path, random_):
    matrices = np.load(path)
    ways = [matrices[:0], matrices[0], matrices[:, :3], matrices.astype(str), 0 * matrices, np.array(3)]
    np.save(path, random_.choice(ways))


_WAYS = {
    ".json": (_change_json,) * 6,
    ".jsonl": (_change_lines,) * 6,
    ".yaml": (_change_yaml,) * 6,
    ".npy": (_change_matrices,) * 3,
}


def _changed(value, random_, depth=0):
    """The value with one part, at some depth, removed, added or replaced."""
    if isinstance(value, dict) and value and random_.random() < 0.8:
        key = random_.choice(list(value))
        if random_.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _changed(value[key], random_, depth + 1)}
    if isinstance(value, list) and value and random_.random() < 0.6:
        place = random_.randrange(len(value))
        part = random_.choice([[], [random_.choice(ODD)], [_changed(value[place], random_, depth + 1)]])
        return value[:place] + part + value[place + 1 :]
    return random_.choice(ODD)
