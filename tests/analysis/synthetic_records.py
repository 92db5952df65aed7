"""Trial folders in exactly the format that training writes, with made-up figures."""

import hashlib
import json
from pathlib import Path

import numpy as np

DEFAULTS = {
    "arch": "wrn",
    "filters": 32,
    "repeat": 4,
    "scales": 3,
    "augment": "d.d.d",
    "adepth": 2,
    "ath": 0.8,
    "adecay": 0.99,
    "batch": 64,
    "uratio": 7,
    "lr": 0.03,
    "wd": 5e-4,
    "wu": 1.0,
    "confidence": 0.95,
    "cai_beta": 0.5,
    "cap_ema": True,
    "cap_ema_momentum": 0.99,
    "upper": 5.0,
    "ema_decay": 0.999,
    "bn_decay": 0.999,
    "train_kimg": 8.0,
    "report_kimg": 0.5,
    "save_kimg": 0.5,
    "keep_ckpt": 2,
}
LEVEL = {
    "supervised": 40.0,
    "fixmatch": 60.0,
    "cap": 64.0,
    "cai": 66.0,
    "cap+cai": 70.0,
    "cap+cadr": 69.0,
    "cadr": 75.0,
}


def write_trial(
    sweep: Path,
    *,
    dataset: str = "digits_LT_20.1@20-100",
    algorithm: str = "fixmatch",
    seed: int = 1,
    rows: int = 16,
    classes: int = 10,
    level: float | None = None,
    series: list[float] | None = None,
    state: str = "complete",
    error: str | None = None,
    split_hash: str | None = None,
    commit: str = "0123abc",
    pseudo_labels: bool = False,
    folder: str | None = None,
    updated: str = "2026-11-22T12:00:00+00:00",
    facts: dict | None = None,
    title: str | None = None,
    **settings,
) -> Path:
    """Write one trial; ``series`` fixes the test accuracy per evaluation (the geometric mean is 5 below).

    ``facts`` are added to what is recorded about its data.
    """
    config = {"dataset": dataset, "algorithm": algorithm, "seed": seed, **DEFAULTS, **settings}
    if series is not None and state == "complete":
        config["train_kimg"] = len(series) * config["report_kimg"]
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    name = f"{algorithm}-{dataset.split('.')[0]}-s{seed}"
    path = Path(sweep) / (folder or f"{name}-{digest[:8]}")
    path.mkdir(parents=True)
    generator = np.random.default_rng(int(digest[:8], 16))
    total = int(config["train_kimg"] * 1024 / config["batch"])
    interval = int(config["report_kimg"] * 1024 / config["batch"])
    expected = total // interval
    done = expected if state == "complete" else min(rows, expected - 1)
    if series is None:
        series = _series(LEVEL.get(algorithm, 60.0) if level is None else level, done, generator)
    history = [_row(k + 1, interval, series[k], classes, config, generator) for k in range(len(series))]
    for row in history if pseudo_labels else ():
        row["pseudo_kept"] = [40 - c % 10 for c in range(classes)]
        row["pseudo_correct"] = [30 - c % 10 for c in range(classes)]
    _dump(
        path / "config.json",
        {
            "trial_id": path.name,
            **({"title": title} if title else {}),
            "name": name,
            "sweep": Path(sweep).name,
            "config_hash": digest,
            "config": config,
        },
    )
    _dump(
        path / "provenance.json",
        {
            "split_hash": split_hash or hashlib.sha256(dataset.encode()).hexdigest()[:12],
            "labeled_counts": [max(1, round(20 * 20 ** (-c / (classes - 1)))) for c in range(classes)],
            "unlabeled_counts": [100] * classes,
            "unlabeled_size": 100 * classes,
            "valid_size": int(dataset.rsplit("-", 1)[1]),
            "test_size": 500,
            "class_names": [str(c) for c in range(classes)],
            "classes": classes,
            "parameters": 12345,
            "versions": {"python": "3.11.7", "torch": "2.15.0", "cissl": "0.1.0"},
            "commit": commit,
            "dirty": False,
            "hardware": "2 cores",
            "threads": 1,
            "started": "2026-11-22T11:00:00+00:00",
            **(facts or {}),
        },
    )
    _dump(
        path / "status.json",
        {
            "state": state,
            "step": history[-1]["step"] if history else 0,
            "steps": total,
            "seconds": 10.0 + seed,
            "error": error,
            "updated": updated,
        },
    )
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    confusion = generator.integers(0, 5, size=(len(history), classes, classes)) + 40 * np.eye(classes, dtype=int)
    np.save(path / "confusion.npy", confusion.astype(np.int32))
    return path


def _series(level: float, rows: int, generator) -> list[float]:
    growth = 1 - np.exp(-4 * np.arange(1, rows + 1) / max(rows, 1))
    return list(level * growth + generator.normal(0, 0.5) + generator.normal(0, 0.3, rows))


def _row(k: int, interval: int, accuracy: float, classes: int, config: dict, generator) -> dict:
    per_class = np.clip(accuracy + np.linspace(15, -15, classes) + generator.normal(0, 1, classes), 0, 100)
    prior = np.linspace(1.5, 0.5, classes) / classes
    return {
        "step": k * interval,
        "kimg": k * config["report_kimg"],
        "seconds": 0.6 * k,
        "lr": 0.03,
        "accuracy": float(accuracy),
        "gmean": float(accuracy - 5),
        "valid_accuracy": float(accuracy - 1),
        "valid_gmean": float(accuracy - 6),
        "per_class": per_class.tolist(),
        "loss": 1 / k,
        "loss_labeled": 0.6 / k,
        "loss_unlabeled": 0.4 / k,
        "mask_ratio": 0.8,
        "class_prior": prior.tolist(),
        "measured": {"thresholds": thresholds(prior, config).tolist(), "weight": 10.0 * k, "shares": prior.tolist()},
    }


def thresholds(prior: np.ndarray, config: dict) -> np.ndarray:
    """What FixMatch, or CAI, would have measured."""
    share = prior / prior.max() if config["algorithm"] in ("cai", "cap+cai", "cadr") else np.ones(len(prior))
    return config["confidence"] * share ** config["cai_beta"]


def _dump(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1))


def write_sweep(
    folder: Path,
    planned: list[str],
    search: dict | None = None,
    grid: dict | None = None,
) -> None:
    """What a sweep leaves in its own folder."""
    parts = {"search": search, "grid": grid}
    lines = ["name: test", *(f"{key}: {json.dumps(part)}" for key, part in parts.items() if part)]
    (folder / "sweep.yaml").write_text("\n".join(lines) + "\n")
    row = {"started": "2026-11-22T11:00:00+00:00", "arguments": ["test.yaml"], "trials": planned}
    (folder / "runs.jsonl").write_text(json.dumps(row) + "\n")


def write_candidates(folder: Path, *candidates: tuple[dict, list[Path]]) -> None:
    """``search.json``: of each candidate its params and its trials."""
    rows = [
        {"number": k, "params": params, "state": "open", "trials": [path.name for path in trials]}
        for k, (params, trials) in enumerate(candidates)
    ]
    (folder / "search.json").write_text(json.dumps(rows))


def write_grid_and_search(root: Path) -> Path:
    """A grid with a trial that runs and one that waits, and a search with two candidates, below the root."""
    for algorithm in ("supervised", "fixmatch", "cadr"):
        for seed in (1, 2):
            dataset = f"digits_LT_20.{seed}@20-100"
            write_trial(root / "grid", dataset=dataset, algorithm=algorithm, seed=seed, series=[50.0, 60.0, 70.0])
    write_trial(root / "grid", algorithm="cap", state="running", rows=2)
    write_sweep(root / "grid", ["fixmatch-digits_LT_20-s3-01234567"], grid={"seed": [1, 2]})
    trials = [write_trial(root / "search", lr=lr, seed=seed, series=[50.0] * 3) for lr in (0.1, 0.2) for seed in (1, 2)]
    write_sweep(root / "search", [], {"space": {"lr": {"choice": [0.1, 0.2]}}}, grid={"seed": [1, 2]})
    write_candidates(root / "search", ({"lr": 0.1}, trials[:2]), ({"lr": 0.2}, trials[2:]))
    return root
