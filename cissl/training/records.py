"""A trial's folder: the records that tables, curves and reports are made of.

    config.json       settings, their hash, the method       written once
    code/             the user's own files that it runs      written once
    provenance.json   split, versions, commit, hardware      written at every start
    status.json       state, step, seconds, error            written at every evaluation
    history.jsonl     one row per evaluation                 rewritten at every evaluation
    confusion.npy     int32 (evaluations, C, C), test set    rewritten at every evaluation
    stats/            accuracy.json and GM.json: last 1, 10, 20 and 50 evaluations
    checkpoints/      to go on from, see `checkpoint`; removed when the trial is complete
    weights.pt        the averaged network of a complete trial
    tensorboard/      events

Every file is replaced as a whole. The history's truth is the one inside the checkpoint, so that what is written during
training need not wait for the disk; a trial that ends does.
"""

import datetime
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cissl import plugins
from cissl.config import TrialConfig
from cissl.training.files import atomic_write, read_json, write_json, write_text
from cissl.training.metrics import window_summaries


def write_config(folder: Path, config: TrialConfig, sweep: str | None) -> None:
    """Record the settings, what the algorithm is, and the user's own code that it runs."""
    sources = plugins.sources(config.plugins)
    values = {
        "trial_id": config.trial_id,
        "name": config.name,
        "sweep": sweep,
        "config_hash": config.hash,
        "config": config.to_dict(),
        "title": config.recipe.title,
        "parts": [
            {"name": card.name, "title": card.title, "paper": card.paper, "venue": card.venue}
            for card in config.recipe.parts
        ],
        "code": {source.name: source.sha256 for source in sources},
    }
    write_json(folder / "config.json", values)
    for source in sources:
        write_text(folder / "code" / source.name, source.text)


def write_status(
    folder: Path,
    state: str,
    *,
    step: int,
    steps: int,
    seconds: float,
    error: str | None = None,
    damaged: Sequence[str] = (),
) -> None:
    """Record how far the trial is.

    Args:
        folder: the trial's folder.
        state: running, or for its end complete, failed, stopped or diverged.
        step: updates made, of `steps` in all.
        steps: see there.
        seconds: training time.
        error: what it failed of.
        damaged: names of the checkpoints that were found damaged.
    """
    values = {
        "state": state,
        "step": step,
        "steps": steps,
        "seconds": round(seconds, 3),
        "error": error,
        "damaged": list(damaged),
        "updated": now(),
    }
    write_json(folder / "status.json", values, sync=state != "running")


def read_status(folder: Path) -> dict[str, Any] | None:
    """The trial's status, or None where it never started."""
    return read_json(folder / "status.json")


def write_history(folder: Path, rows: Sequence[dict[str, Any]], confusions: np.ndarray, *, sync: bool = True) -> None:
    """Record all evaluations so far.

    Args:
        folder: the trial's folder.
        rows: one per evaluation, at least one; NaN is written as null.
        confusions: (evaluations, C, C) integer.
        sync: wait for the disk.
    """
    write_text(folder / "history.jsonl", "".join(json.dumps(without_nan(row)) + "\n" for row in rows), sync=sync)
    with atomic_write(folder / "confusion.npy", sync=sync) as file:
        np.save(file, confusions.astype(np.int32))
    for key, name in (("accuracy", "accuracy"), ("gmean", "GM")):
        summaries = without_nan(window_summaries([row[key] for row in rows]))
        write_json(folder / "stats" / f"{name}.json", summaries, sync=sync)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The evaluations recorded in a trial's folder, oldest first."""
    path = folder / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 (Python 3.10)


def without_nan(value: Any) -> Any:
    """`value` with None for every float that JSON has no word for."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
