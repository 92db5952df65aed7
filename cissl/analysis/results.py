"""Reading trial folders, the only source of every table, curve and report.

A trial folder holds ``config.json``, ``provenance.json``, ``status.json``, ``history.jsonl`` (one row per
evaluation) and ``confusion.npy``. Ray's own ``result.json`` and ``progress.csv`` may lie beside them and are
never read: they lose or repeat rows after a failure.

Roots are local folders or URIs that pyarrow's file systems understand (``s3://bucket/sweep``, ``gs://...``).
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import json as json_reader

from cissl.analysis import checks, sweep_folder
from cissl.analysis.methods import Algorithm, settings_of
from cissl.analysis.record_store import open_store
from cissl.analysis.selection import SELECTIONS
from cissl.analysis.split_parts import split_parts
from cissl.analysis.sweep_folder import Problem, SweepRecord
from cissl.analysis.text import load_json, one_line
from cissl.errors import UserError

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
THRESHOLDS = "measured.thresholds"
VECTORS = ("per_class", "class_prior", "pseudo_kept", "pseudo_correct", THRESHOLDS)  # one value per class
MEASURED = "measured"  # all that a method measured by itself


@dataclass(frozen=True)
class Trial:
    """One trial's records.

    Attributes:
        history: per column, an array with one entry per evaluation (NaN for null).
        measured: the same of what the method measured by itself, numbers (evaluations,) or lists (evaluations, n).
    """

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
    plan: SweepRecord | None = None
    measured: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def searched(self) -> bool:
        """A candidate of a hyper-parameter search, which belongs into no table of results."""
        return self.plan is not None and self.plan.search is not None

    def confusion(self) -> np.ndarray:
        """Counts on the test set, (evaluations, C, C): rows true class, columns predicted.

        Raises:
            ValueError: they are missing or damaged.
        """
        try:
            matrices = np.load(io.BytesIO(self.read("confusion.npy")))
        except Exception as error:  # a damaged head can raise anything, such as tokenize.TokenError
            raise ValueError(f"{self.folder}: confusion.npy cannot be read ({one_line(str(error))})") from None
        classes = self.provenance.get("classes", matrices.shape[-1] if matrices.ndim else 0)
        if matrices.shape[1:] != (classes, classes) or matrices.dtype.kind not in "iuf":
            raise ValueError(f"{self.folder}: confusion.npy holds no matrices of {classes} classes")
        return matrices

    @property
    def settings(self) -> dict:
        """What decides the trial's result; a setting that is younger than the record has its default."""
        fields = settings_of(self.config["algorithm"])
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


@dataclass
class Records:
    """What was found below the roots: trials, sorted by name and folder, and what could not be read.

    ``waiting`` are the ids of trials that a sweep has planned and not started.
    """

    trials: list[Trial]
    problems: list[Problem] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def trial_frame(self) -> "pd.DataFrame":
        """One line per trial.

        Columns: ``trial_id``, ``name``, ``sweep``; ``state``, one of complete, running, failed, stopped, diverged and
        unreadable; ``step`` of ``steps``; ``rows``, the number of evaluations; ``seconds`` of training; ``accuracy``
        and ``gmean``, in percent, the mean over the last 10 evaluations on test data, NaN unless the trial is complete;
        ``split_hash``; ``searched``: a candidate of a search, no result; ``data_name``, ``data_imbalance_ratio``,
        ``data_labels``, ``data_unlabeled``, ``data_split_seed``, ``data_size``, ``data_valid``, the parts of the
        split's name, see `split_parts`; every setting under its own name; ``folder``, which tells the trial in both
        frames.
        """
        import pandas as pd  # here, so that commands without frames start in half the time

        return pd.DataFrame([_trial_row(trial) for trial in self.trials])

    def evaluation_frame(self) -> "pd.DataFrame":
        """One line per trial and evaluation, scalars only.

        Columns: ``step``; ``kimg``, 1024 labeled images; ``seconds`` of training; ``lr``; ``accuracy`` and ``gmean`` on
        test images and ``valid_accuracy`` and ``valid_gmean`` on validation images, in percent, NaN where they are not
        defined; ``loss``, ``loss_labeled``, ``loss_unlabeled`` and ``mask_ratio``, means since the evaluation before;
        ``trial_id``; ``folder``, which tells the trial in both frames.
        """
        import pandas as pd

        identity = ("trial_id", "folder")
        parts = [
            pd.DataFrame({column: trial.history[column] for column in SCALARS}).assign(
                **{key: getattr(trial, key) for key in identity}
            )
            for trial in self.trials
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*SCALARS, *identity])


def load(roots: Sequence[str | Path] = (), vectors: Iterable[str] = ()) -> Records:
    """Read every trial below the roots (by default Ray's results folder).

    Args:
        roots: a trial, a sweep, a folder of sweeps, or several of them; a folder reached twice counts once.
        vectors: history columns with one value per class to read too (``per_class``, ``class_prior``, ...); with
            ``measured`` also all that methods measured.

    Raises:
        UserError: a root does not exist, or no trial at all lies below them.
    """
    stores = [open_store(str(root)) for root in roots or [DEFAULT_ROOT]]
    places = _find(stores)
    parents = {store.parent(folder): store for store, folder in places}
    plans = {parent: sweep_folder.read_sweep(store, parent) for parent, store in parents.items()}
    sweeps = {parent: sweep for parent, (sweep, _) in plans.items()}
    with ThreadPoolExecutor(READERS) as pool:
        outcomes = list(
            pool.map(lambda place: _read(*place, sweeps[place[0].parent(place[1])], tuple(vectors)), places)
        )
    trials = [trial for trial, _ in outcomes if trial is not None]
    problems = [Problem(*problem) for store in stores for problem in store.problems]
    problems += [problem for _, found in plans.values() for problem in found]
    problems += [problem for _, problem in outcomes if problem is not None]
    return Records(
        sorted(trials, key=lambda t: (t.name, t.folder)), sorted(problems, key=str), _waiting(places, sweeps)
    )


def _find(stores: list) -> list[tuple]:
    """(store, folder) of every trial, those that several roots reach only once."""
    places: dict[str, tuple] = {}
    for store in stores:
        store.check()
        folders = store.trial_folders()
        named = _is_smoke(store, store.uri)
        smoke = {parent for parent in set(map(store.parent, folders)) if _is_smoke(store, parent)}
        for folder in folders:
            if named or store.parent(folder) not in smoke:
                places.setdefault(store.identity(folder), (store, folder))
    if not places:
        searched = ", ".join(store.uri for store in stores)
        raise UserError(f"no trial below {searched}: a trial's folder holds config.json, status.json and history.jsonl")
    return list(places.values())


def _is_smoke(store, sweep: str) -> bool:
    """Whether a sweep's folder holds trials of a few steps, which are no results unless they are asked for by name."""
    return store.name(sweep).endswith("-smoke")


def _waiting(places: list[tuple], sweeps: dict[str, SweepRecord | None]) -> list[str]:
    """Planned trials without a folder, of the sweeps that were asked for as a whole."""
    found = {PurePosixPath(folder).name for _, folder in places}
    whole = {store.parent(folder) for store, folder in places if not store.is_root(folder)}
    plans = [sweeps[parent] for parent in whole]
    return sorted({t for plan in plans if plan and not plan.search for t in plan.planned if t not in found})


def _read(
    store, folder: str, sweep: SweepRecord | None, vectors: tuple[str, ...]
) -> tuple[Trial | None, Problem | None]:
    try:
        return read_trial(store, folder, sweep, vectors)
    except (OSError, ValueError) as error:
        return None, Problem(store.display(folder), str(error))


def read_trial(
    store, folder: str, sweep: SweepRecord | None = None, vectors: tuple[str, ...] = ()
) -> tuple[Trial, Problem | None]:
    """Read one folder. Where only its settings can be trusted, the trial is ``unreadable`` and a problem says
    why, so that its cell still shows that it exists.

    Raises:
        ValueError, OSError: not even the settings can be read.
    """
    record = _read_json(store, folder, "config.json")
    checks.check(record, checks.RECORD, "config.json", required=True)
    checks.check(record, checks.SWEEP, "config.json")
    config = record["config"]
    checks.check(config, checks.SETTINGS, "config.json", required=True)
    checks.check_settings(config, settings_of(config["algorithm"]))
    config = config | {"algorithm": Algorithm.titled(config["algorithm"], record.get("title"))}
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
    try:
        status = _read_status(store, folder)
        text = _history_text(store, folder, whole=status["state"] == "complete")
        columns = tuple(name for name in vectors if name != MEASURED)
        history = _read_history(text, columns)
        measured = _read_measured(text) if MEASURED in vectors else {}
        provenance = _read_json(store, folder, "provenance.json", missing={})
        provenance = {key: value for key, value in provenance.items() if value is not None}
        checks.check(provenance, checks.PROVENANCE, "provenance.json")
        checks.check_classes(provenance, history)
        _check_end(status, history)
        return Trial(**identity, status=status, provenance=provenance, history=history, measured=measured), None
    except (OSError, ValueError) as error:
        status = {"state": "unreadable", "error": str(error)}
        blank = Trial(**identity, status=status, provenance={}, history=_parse_lines(b"", VECTORS))
        return blank, Problem(identity["folder"], str(error))


def _read_status(store, folder: str) -> dict:
    status = _read_json(store, folder, "status.json")
    checks.check(status, checks.STATUS, "status.json")
    if status.get("state") not in STATES:
        raise ValueError(f"status.json: unknown state {status.get('state')!r}")
    return status


def _check_end(status: dict, history: dict[str, np.ndarray]) -> None:
    """A history that lost its end must not pass as a whole one."""
    steps = history["step"]
    if status["state"] == "complete":
        if len(steps) == 0:
            raise ValueError("history.jsonl holds no evaluation, though the trial is complete")
        if steps[-1] != status.get("steps"):  # the last step is always evaluated
            raise ValueError(f"history.jsonl ends at step {steps[-1]:.0f} of {status.get('steps')}")


def _read_json(store, folder: str, name: str, missing: dict | None = None) -> dict:
    try:
        value = load_json(store.read(folder, name))
    except FileNotFoundError:
        if missing is None:
            raise ValueError(f"{name} is missing") from None
        return missing
    except ValueError as error:
        raise ValueError(f"{name} is not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no mapping")
    return value


def _history_text(store, folder: str, *, whole: bool) -> bytes:
    """``history.jsonl``; a trial that has not been evaluated yet has none, which is no error.

    Args:
        whole: nobody writes any more, so that every line must be whole; else the last may still be in the writing.
    """
    try:
        text = store.read(folder, "history.jsonl")
    except FileNotFoundError:
        text = b""
    return text if whole else text[: text.rfind(b"\n") + 1]


def _read_history(text: bytes, vectors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of ``history.jsonl``."""
    try:
        columns = _parse_fast(text, vectors) if _are_objects(text) else _parse_lines(text, vectors)
    except pa.ArrowException:
        columns = _parse_lines(text, vectors)  # slower, and able to say which line is damaged
    if np.any(np.isnan(columns["step"])) or np.any(np.diff(columns["step"]) <= 0):
        raise ValueError("history.jsonl: its steps do not increase from line to line")
    return columns


def _read_measured(text: bytes) -> dict[str, np.ndarray]:
    """What a method measured, by name, NaN where it did not; all that is a number or a list of numbers."""
    if b'"measured"' not in text:
        return {}
    rows = [row.get(MEASURED) for row in _rows(text)]
    rows = [row if isinstance(row, dict) else {} for row in rows]
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        with contextlib.suppress(ValueError, TypeError):
            blank = np.nan * np.array(next(row[name] for row in rows if name in row), dtype=float)
            column = np.array([row.get(name, blank) for row in rows], dtype=float)
            found |= {name: column} if column.ndim in (1, 2) else {}
    return found


def _are_objects(text: bytes) -> bool:
    """Whether every line begins like a JSON object; any other ends Arrow's parser, and the process with it."""
    return text.startswith(b"{") and text.count(b"\n{") + 1 == text.count(b"\n") + (not text.endswith(b"\n"))


def _parse_fast(text: bytes, vectors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All rows at once, only the wanted columns; five times as fast as Python's parser."""
    if not vectors:
        text = _without_lists(text)
    own, measured = _apart(vectors)
    fields = [(name, pa.float64()) for name in SCALARS] + [(name, pa.list_(pa.float32())) for name in own]
    if measured:
        fields.append(("measured", pa.struct([(name, pa.list_(pa.float32())) for name in measured])))
    table = json_reader.read_json(
        pa.BufferReader(text),
        read_options=json_reader.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=json_reader.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"),
    )
    columns = {name: table.column(name).to_numpy() for name in SCALARS}
    rows = table.select([*own, *(["measured"] if measured else [])]).to_pylist()
    return columns | {name: _vector_column([_at(row, name) for row in rows], name) for name in vectors}


def _apart(vectors: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Columns of their own, and what stands in ``measured``."""
    measured = [name.partition(".")[2] for name in vectors if name.startswith("measured.")]
    return [name for name in vectors if "." not in name], measured


def _at(row: dict, name: str):
    """A column's value in a row; ``measured.x`` is x of what the method measured."""
    group, _, inner = name.rpartition(".")
    values = row.get(group) if group else row
    return values.get(inner) if isinstance(values, dict) else None


def _without_lists(text: bytes) -> bytes:
    """JSON rows of numbers and flat lists, their lists replaced by null: with 100 classes almost all of the text.

    Nothing is parsed for that. Of nested lists it would make invalid JSON, which the slow parser then reads.
    """
    first, *others = text.split(b"[")
    return b"null".join([first, *(part[part.find(b"]") + 1 :] for part in others)])


def _parse_lines(text: bytes, vectors: tuple[str, ...]) -> dict[str, np.ndarray]:
    rows = _rows(text)
    columns = {name: _scalar_column([row.get(name) for row in rows], name) for name in SCALARS}
    return columns | {name: _vector_column([_at(row, name) for row in rows], name) for name in vectors}


def _rows(text: bytes) -> list[dict]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"history.jsonl: line {number} is cut short or damaged") from None
    return rows


def _scalar_column(values: list, name: str) -> np.ndarray:
    try:
        return np.array(values, dtype=float).reshape(len(values))
    except (ValueError, TypeError):
        raise ValueError(f"history.jsonl: '{name}' is not a number in every line") from None


def _vector_column(values: list, name: str) -> np.ndarray:
    """(evaluations, classes) float32, NaN where nothing was recorded."""
    try:
        classes = max((len(v) for v in values if v is not None), default=0)
        blank = [None] * classes
        table = [blank if v is None else v for v in values]
        return np.array(table, dtype=np.float32).reshape(len(values), classes)
    except (ValueError, TypeError):
        raise ValueError(f"history.jsonl: '{name}' is no list of one number per class in every line") from None


def _reported(trial: Trial, metric: str) -> float:
    return SELECTIONS["last10"].figure(trial.history, metric) if trial.complete else float("nan")


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
        **{metric: _reported(trial, metric) for metric in ("accuracy", "gmean")},
        "split_hash": trial.provenance.get("split_hash"),
        "searched": trial.searched,
        **{f"data_{key}": value for key, value in trial.spec.items()},
        **trial.config,
        "folder": trial.folder,
    }
