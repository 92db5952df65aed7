"""Reading trial folders, the only source of every table, curve and report.

A trial folder holds ``config.json``, ``provenance.json``, ``status.json``, ``history.jsonl`` (one row per
evaluation) and ``confusion.npy``. Ray's own ``result.json`` and ``progress.csv`` may lie beside them and are
never read: they lose or repeat rows after a failure.

Roots are local folders or URIs that pyarrow's file systems understand (``s3://bucket/sweep``, ``gs://...``).
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import Field, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import yaml
from pyarrow import json as json_reader

from cissl.algorithms.cards import find
from cissl.analysis.store import open_store
from cissl.config import core_fields
from cissl.datasets.spec import parse_spec
from cissl.errors import UserError
from cissl.plugins import is_plugin

if TYPE_CHECKING:
    import pandas as pd

READERS = 8  # threads: reading waits for disks and networks, parsing runs outside the interpreter's lock
DEFAULT_ROOT = Path("~/ray_results")
STATES = ("complete", "running", "failed", "stopped", "diverged")  # "unreadable" is ours, for damaged records
SCALARS = (
    "step",
    "kimg",
    "seconds",
    "lr",
    "accuracy",
    "gmean",
    "valid_accuracy",
    "valid_gmean",
    "loss",
    "loss_labeled",
    "loss_unlabeled",
    "mask_ratio",
)


@dataclass(frozen=True)
class Problem:
    """A record that could not be read, and was skipped."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Trial:
    """One trial's records. ``history``: per column, an array with one entry per evaluation (NaN for null)."""

    folder: str
    trial_id: str
    name: str
    sweep: str | None
    config: dict
    spec: dict
    status: dict
    provenance: dict
    history: dict[str, np.ndarray]
    read: Callable[[str], bytes] = field(repr=False)  # another file of the trial
    plan: "Sweep | None" = None

    @property
    def searched(self) -> bool:
        """A candidate of a hyper-parameter search, which belongs into no table of results."""
        return self.plan is not None and self.plan.search is not None

    def confusion(self) -> np.ndarray:
        """Counts on the test set, (evaluations, C, C): rows true class, columns predicted."""
        return np.load(io.BytesIO(self.read("confusion.npy")))

    @property
    def settings(self) -> dict:
        """What decides the trial's result; a setting that is younger than the record has its default."""
        fields = _fields(self.config["algorithm"])
        complete = {key: field.default for key, field in fields.items()} | self.config
        return {k: v for k, v in complete.items() if k not in fields or fields[k].metadata["changes_result"]}

    @property
    def state(self) -> str:
        return self.status["state"]

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def rows(self) -> int:
        """Number of evaluations on record."""
        return len(self.history["step"])

    @property
    def replicate(self) -> tuple[int, int]:
        """What may differ inside one cell: the seed of the split and the seed of the training."""
        return self.spec["split_seed"], self.config["seed"]


@dataclass(frozen=True)
class Sweep:
    """What a sweep's own folder says: the trials that it will have, and its search if it is one."""

    folder: str
    planned: tuple[str, ...]  # trial ids
    search: dict | None = None


@dataclass
class Records:
    """What was found below the roots: trials, sorted by name and folder, and what could not be read.

    ``waiting`` are the ids of trials that a sweep has planned and not started.
    """

    trials: list[Trial]
    problems: list[Problem] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def trial_frame(self) -> "pd.DataFrame":
        """One line per trial: its identity, state, split and every setting."""
        import pandas as pd  # here, so that commands without frames start in half the time

        return pd.DataFrame([_trial_row(trial) for trial in self.trials])

    def evaluation_frame(self) -> "pd.DataFrame":
        """One line per trial and evaluation, scalars only."""
        import pandas as pd

        parts = [pd.DataFrame({c: t.history[c] for c in SCALARS}).assign(folder=t.folder) for t in self.trials]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*SCALARS, "folder"])


def _fields(algorithm: str) -> dict[str, Field]:
    """Every setting that this program knows of an algorithm; of a user's own method only those that all trials have."""
    try:
        return {**core_fields(), **({} if is_plugin(algorithm) else find(algorithm).fields)}
    except UserError:  # a method of another installation
        return dict(core_fields())


def split_parts(name: str) -> dict:
    """What the name of a split says, in the words of tables.

    Returns:
        ``name`` of the data set; ``imbalance_ratio`` (γ, None unless long-tailed); ``labels``: another shape of the
        labels (``N1_10``, ``RAND``) or None; ``unlabeled``: what shapes the unlabeled and validation images
        (``ULT_50``, ``UREV_50+3000 DISJOINT``, ``HELDOUT``) or None; ``split_seed``; ``size`` (labels) and ``valid``
        (validation images).

    Raises:
        UserError: it is not the name of a split.
    """
    spec = parse_spec(name)
    shape = f"U{'REV' if spec.unlabeled_reversed else 'LT'}_{spec.unlabeled_ratio:.12g}" if spec.unlabeled_ratio else ""
    largest = f"+{spec.unlabeled_largest}" if spec.unlabeled_largest else ""
    apart = "DISJOINT" if spec.disjoint else "HELDOUT" if spec.held_out else ""
    return {
        "name": spec.name,
        "imbalance_ratio": spec.imbalance_ratio,
        "labels": f"N1_{spec.largest}" if spec.largest else "RAND" if spec.random else None,
        "unlabeled": f"{shape}{largest} {apart}".strip() or None,
        "split_seed": spec.seed,
        "size": spec.size,
        "valid": spec.valid,
    }


def load(roots: Sequence[str | Path] = (), vectors: Iterable[str] = ()) -> Records:
    """Read every trial below the roots (by default Ray's results folder).

    Args:
        roots: a trial, a sweep, a folder of sweeps, or several of them; a folder reached twice counts once.
        vectors: history columns with one value per class to read too (``per_class``, ``class_prior``, ...).

    Raises:
        UserError: a root does not exist, or no trial at all lies below them.
    """
    places = _find([open_store(str(root)) for root in roots or [DEFAULT_ROOT]])
    sweeps = {store.parent(folder): store for store, folder in places}
    sweeps = {parent: _read_sweep(store, parent) for parent, store in sweeps.items()}
    with ThreadPoolExecutor(READERS) as pool:
        outcomes = list(
            pool.map(lambda place: _read(*place, sweeps[place[0].parent(place[1])], tuple(vectors)), places)
        )
    trials = [trial for trial, _ in outcomes if trial is not None]
    problems = [problem for _, problem in outcomes if problem is not None]
    return Records(
        sorted(trials, key=lambda t: (t.name, t.folder)), sorted(problems, key=str), _waiting(places, sweeps)
    )


def _find(stores: list) -> list[tuple]:
    """(store, folder) of every trial, those that several roots reach only once."""
    places: dict[str, tuple] = {}
    for store in stores:
        if not store.exists():
            raise UserError(f"{store.uri} does not exist; name a sweep's folder, a trial's, or their parent")
        named = _is_smoke(store.uri)
        for folder in store.trial_folders():
            if named or not _is_smoke(store.parent(folder)):
                places.setdefault(store.identity(folder), (store, folder))
    if not places:
        searched = ", ".join(store.uri for store in stores)
        raise UserError(f"no trial below {searched}: a trial's folder holds config.json, status.json and history.jsonl")
    return list(places.values())


def _is_smoke(sweep: str) -> bool:
    """Whether a sweep's folder holds trials of a few steps, which are no results unless they are asked for by name."""
    return PurePosixPath(sweep).name.endswith("-smoke")


def _waiting(places: list[tuple], sweeps: dict[str, Sweep | None]) -> list[str]:
    """Planned trials without a folder, of the sweeps that were asked for as a whole."""
    found = {PurePosixPath(folder).name for _, folder in places}
    whole = {store.parent(folder) for store, folder in places if not store.is_root(folder)}
    plans = [sweeps[parent] for parent in whole]
    return sorted({t for plan in plans if plan and not plan.search for t in plan.planned if t not in found})


def _read(store, folder: str, sweep: Sweep | None, vectors: tuple[str, ...]) -> tuple[Trial | None, Problem | None]:
    try:
        return read_trial(store, folder, sweep, vectors)
    except KeyError as error:
        return None, Problem(store.display(folder), f"config.json: no {error}")
    except (OSError, ValueError, TypeError) as error:
        return None, Problem(store.display(folder), str(error))


def _read_sweep(store, folder: str) -> Sweep | None:
    """What ``runs.jsonl`` (one line per start, with the planned trials), ``sweep.yaml`` and ``search.json`` (only
    searches have one) tell; None where there is no sweep. They add what is missing or searched, so a damaged one is
    passed over.
    """
    planned = _read_quietly(store, folder, "runs.jsonl", lambda text: json.loads(text.splitlines()[-1])["trials"])
    search = _read_quietly(store, folder, "sweep.yaml", lambda text: yaml.safe_load(text).get("search"))
    searched = _read_quietly(store, folder, "search.json", lambda text: list(json.loads(text)[0]["params"]))
    if searched is not None and search is None:  # asked for on the command line
        search = {"space": dict.fromkeys(searched)}
    return Sweep(store.display(folder), tuple(planned or ()), search) if planned or search else None


def _read_quietly(store, folder: str, name: str, parse: Callable):
    try:
        return parse(store.read(folder, name))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return None


def read_trial(
    store, folder: str, sweep: Sweep | None = None, vectors: tuple[str, ...] = ()
) -> tuple[Trial, Problem | None]:
    """Read one folder. Where only its settings can be trusted, the trial is ``unreadable`` and a problem says
    why, so that its cell still shows that it exists.

    Raises:
        ValueError, OSError: not even the settings can be read.
    """
    record = _read_json(store, folder, "config.json")
    config = record["config"]
    identity = dict(
        folder=store.display(folder),
        trial_id=record["trial_id"],
        name=record["name"],
        sweep=record.get("sweep"),
        config=config,
        spec=split_parts(config["dataset"]),
        read=partial(store.read, folder),
        plan=sweep,
    )
    if not isinstance(config["algorithm"], str) or not isinstance(config["seed"], int):
        raise ValueError("config.json: 'algorithm' must be a name and 'seed' a whole number")
    try:
        history = _read_history(store, folder, vectors)
        status = _read_status(store, folder, history)
        provenance = _read_json(store, folder, "provenance.json", missing={})
        return Trial(**identity, status=status, provenance=provenance, history=history), None
    except (OSError, ValueError) as error:
        status = {"state": "unreadable", "error": str(error)}
        blank = Trial(**identity, status=status, provenance={}, history=_parse_lines(b"", vectors))
        return blank, Problem(identity["folder"], str(error))


def _read_status(store, folder: str, history: dict[str, np.ndarray]) -> dict:
    """``status.json``, checked against the history: one that lost its end must not pass as a whole one."""
    steps = history["step"]
    status = _read_json(store, folder, "status.json")
    if status.get("state") not in STATES:
        raise ValueError(f"status.json: unknown state {status.get('state')!r}")
    if status["state"] == "complete":
        if len(steps) == 0:
            raise ValueError("history.jsonl holds no evaluation, though the trial is complete")
        if steps[-1] != status["steps"]:  # the last step is always evaluated
            raise ValueError(f"history.jsonl ends at step {steps[-1]:.0f} of {status['steps']}")
    return status


def _read_json(store, folder: str, name: str, missing: dict | None = None) -> dict:
    try:
        value = json.loads(store.read(folder, name))
    except FileNotFoundError:
        if missing is None:
            raise ValueError(f"{name} is missing") from None
        return missing
    except ValueError as error:
        raise ValueError(f"{name} is not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no mapping")
    return value


def _read_history(store, folder: str, vectors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of ``history.jsonl``; a trial that has not been evaluated yet has none, which is no error."""
    try:
        text = store.read(folder, "history.jsonl")
    except FileNotFoundError:
        text = b""
    try:
        columns = _parse_fast(text, vectors) if text else _parse_lines(text, vectors)
    except pa.ArrowException:
        columns = _parse_lines(text, vectors)  # slower, and able to say which line is damaged
    if np.any(np.isnan(columns["step"])) or np.any(np.diff(columns["step"]) <= 0):
        raise ValueError("history.jsonl: its steps do not increase from line to line")
    return columns


def _parse_fast(text: bytes, vectors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All rows at once, only the wanted columns; five times as fast as Python's parser."""
    if not vectors:
        text = _without_lists(text)
    fields = [(name, pa.float64()) for name in SCALARS] + [(name, pa.list_(pa.float32())) for name in vectors]
    table = json_reader.read_json(
        pa.BufferReader(text),
        read_options=json_reader.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=json_reader.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"),
    )
    columns = {name: table.column(name).to_numpy() for name in SCALARS}
    return columns | {name: _vector_column(table.column(name).to_pylist()) for name in vectors}


def _without_lists(text: bytes) -> bytes:
    """JSON rows of numbers and flat lists, their lists replaced by null: with 100 classes almost all of the text.

    Nothing is parsed for that. Of nested lists it would make invalid JSON, which the slow parser then reads.
    """
    first, *others = text.split(b"[")
    return b"null".join([first, *(part[part.find(b"]") + 1 :] for part in others)])


def _parse_lines(text: bytes, vectors: tuple[str, ...]) -> dict[str, np.ndarray]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise ValueError(f"history.jsonl: line {number} is cut short or damaged") from None
    columns = {name: np.array([row.get(name) for row in rows], dtype=float) for name in SCALARS}
    return columns | {name: _vector_column([row.get(name) for row in rows]) for name in vectors}


def _vector_column(values: list) -> np.ndarray:
    """(evaluations, classes) float32, NaN where nothing was recorded."""
    classes = max((len(v) for v in values if v is not None), default=0)
    blank = [None] * classes
    table = [blank if v is None else v for v in values]
    return np.array(table, dtype=np.float32).reshape(len(values), classes)


def _trial_row(trial: Trial) -> dict:
    return {
        "trial_id": trial.trial_id,
        "name": trial.name,
        "sweep": trial.sweep,
        "state": trial.state,
        "step": trial.status.get("step"),
        "steps": trial.status.get("steps"),
        "rows": trial.rows,
        "seconds": trial.status.get("seconds"),
        "split_hash": trial.provenance.get("split_hash"),
        "searched": trial.searched,
        **{f"data_{key}": value for key, value in trial.spec.items()},
        **trial.config,
        "folder": trial.folder,
    }
