"""Reads trial folders, the only source of every table, curve and report.

A trial folder holds ``config.json``, ``provenance.json``, ``status.json``, ``history.jsonl`` (one row for each
evaluation) and ``confusion.npy``. Ray's own ``result.json`` and ``progress.csv`` may lie beside them. They are never
read, because they lose or repeat rows after a failure.

Roots are local folders, or URIs that pyarrow's file systems understand (``s3://bucket/sweep``, ``gs://...``).
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

import numpy as np
import numpy.typing as npt

from cissl.analysis import checks, sweep_folder
from cissl.analysis.history import MEASURED, SCALARS, VECTORS, History, empty_history, read_history, read_measured
from cissl.analysis.methods import Algorithm, settings_of
from cissl.analysis.record_store import RecordStore, open_store
from cissl.analysis.selection import SELECTIONS
from cissl.analysis.split_parts import SplitParts, split_parts
from cissl.analysis.sweep_folder import Problem, SweepRecord
from cissl.analysis.text import load_json, one_line
from cissl.errors import UserError
from cissl.record_format import Status

if TYPE_CHECKING:
    import pandas as pd

READERS = 8  # threads: reading waits for disks and networks, and Arrow parses outside the interpreter's lock
DEFAULT_ROOT = Path("~/ray_results")
STATES = ("complete", "running", "failed", "stopped", "diverged")  # "unreadable" is ours, for damaged records


class Provenance(TypedDict, total=False):
    """``provenance.json``: the split and the program that a trial used. Older records lack some keys.

    Attributes:
        split_hash: tells different splits of one name apart.
        classes: number of classes (C).
        class_names: C names.
        labeled_counts: labels of each class, (C,).
        unlabeled_counts: unlabeled images of each class, (C,), as far as their classes are known.
        unlabeled_size: number of unlabeled images.
        unlabeled_labeled: how many of these are labeled images too.
        valid_size: number of validation images.
        valid_labeled: how many of these are labeled images too.
        test_size: number of test images.
        versions: package → version.
        commit: of the program's repository.
        dirty: whether the program had uncommitted changes.
        hardware: name of the device.
        workers: number of processes that trained together.
        started: ISO 8601 time of the first start.
    """

    split_hash: str
    classes: int
    class_names: list[str]
    labeled_counts: list[int]
    unlabeled_counts: list[int]
    unlabeled_size: int
    unlabeled_labeled: int
    valid_size: int
    valid_labeled: int
    test_size: int
    versions: dict[str, str]
    commit: str
    dirty: bool
    hardware: str
    workers: int
    started: str


@dataclass(frozen=True)
class Trial:
    """The records of one trial.

    Attributes:
        folder: the trial's folder, as messages show it.
        trial_id: the name of that folder.
        name: the same without the hash of the config, such as ``cadr-digits_LT_10-s1``.
        sweep: name of its sweep; None where it has none.
        config: setting → value, as the trial was started.
        spec: the parts of the split's name.
        status: how far it has come; its state is ``unreadable`` where the records are damaged.
        provenance: its split and its program; empty where it is unreadable.
        history: by column, an array (evaluations,), or (evaluations, C) for vectors; NaN for null.
        read: reads another file of the trial.
        plan: what the sweep's folder says.
        measured: by name, what the method measured itself, (evaluations,) or (evaluations, n).
    """

    folder: str
    trial_id: str
    name: str
    sweep: str | None
    config: dict[str, Any]
    spec: SplitParts
    status: Status
    provenance: Provenance
    history: History
    read: Callable[[str], bytes] = field(repr=False)
    plan: SweepRecord | None = None
    measured: History = field(default_factory=dict)

    @property
    def algorithm(self) -> Algorithm:
        """The name of its method."""
        algorithm: Algorithm = self.config["algorithm"]
        return algorithm

    @property
    def searched(self) -> bool:
        """Whether it runs a candidate of a hyper-parameter search; then it belongs in no table of results."""
        return self.plan is not None and self.plan.search is not None

    def confusion(self) -> npt.NDArray[np.number[Any]]:
        """Counts on the test set, (evaluations, C, C): rows are true classes, columns predicted ones.

        Raises:
            ValueError: they are missing or damaged.
        """
        try:
            matrices: npt.NDArray[np.number[Any]] = np.load(io.BytesIO(self.read("confusion.npy")))
        except Exception as error:  # a damaged head can raise anything, such as tokenize.TokenError
            raise ValueError(f"{self.folder}: confusion.npy cannot be read ({one_line(str(error))})") from None
        classes = self.provenance.get("classes", matrices.shape[-1] if matrices.ndim else 0)
        if matrices.shape[1:] != (classes, classes) or matrices.dtype.kind not in "iuf":
            raise ValueError(f"{self.folder}: confusion.npy holds no matrices of {classes} classes")
        return matrices

    @property
    def settings(self) -> dict[str, Any]:
        """Setting → value of all that decides the result; a setting that the record does not know has its default."""
        fields = settings_of(self.algorithm)
        complete = {key: field.default for key, field in fields.items()} | self.config
        return {k: v for k, v in complete.items() if k not in fields or fields[k].metadata["changes_result"]}

    @property
    def state(self) -> str:
        """What has become of it; ``unreadable`` where its records are damaged."""
        return self.status["state"]

    @property
    def complete(self) -> bool:
        """Whether it has done all its steps."""
        return self.state == "complete"

    @property
    def rows(self) -> int:
        """Number of evaluations on record."""
        return len(self.history["step"])

    @property
    def replicate(self) -> tuple[int, int]:
        """What may differ inside one cell: the seed of the split, and the seed of the training."""
        return self.spec["split_seed"], self.config["seed"]


@dataclass
class Records:
    """What was found below the roots.

    Attributes:
        trials: sorted by name and folder.
        problems: what could not be read, sorted.
        waiting: ids of trials that a sweep has planned and not started.
    """

    trials: list[Trial]
    problems: list[Problem] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def trial_frame(self) -> "pd.DataFrame":
        """One line for each trial.

        Columns:

        - ``trial_id``, ``name``, ``sweep``;
        - ``state``: complete, running, failed, stopped, diverged or unreadable;
        - ``step`` of ``steps``, in optimizer updates; ``rows``, the number of evaluations; ``seconds`` of training;
        - ``accuracy`` and ``gmean``, in percent: the mean over the last 10 evaluations on test data, NaN unless the
          trial is complete;
        - ``split_hash``, which tells different splits of one name apart;
        - ``searched``: whether the trial belongs to a search, and so is no result;
        - ``data_name``, ``data_imbalance_ratio``, ``data_labels``, ``data_unlabeled``, ``data_split_seed``,
          ``data_size`` and ``data_valid``: the parts of the split's name;
        - every setting under its own name;
        - ``folder``, which identifies the trial in both frames.
        """
        import pandas as pd  # here, so that commands without frames start in half the time

        return pd.DataFrame([_trial_row(trial) for trial in self.trials])

    def evaluation_frame(self) -> "pd.DataFrame":
        """One line for each evaluation of each trial, without what has one value per class.

        Columns:

        - ``step``; ``kimg``, in units of 1024 labeled images; ``seconds`` of training; ``lr``;
        - ``accuracy`` and ``gmean`` on test images, ``valid_accuracy`` and ``valid_gmean`` on validation images, in
          percent, NaN where they are not defined;
        - ``loss``, ``loss_labeled``, ``loss_unlabeled`` and ``mask_ratio``: means since the evaluation before;
        - ``trial_id``, and ``folder``, which identifies the trial in both frames.
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


class TrialFolder(NamedTuple):
    """The folder of one trial.

    Attributes:
        store: the tree that it lies in.
        path: its name in that tree.
    """

    store: RecordStore
    path: str

    @property
    def parent(self) -> str:
        """The sweep's folder, as the store names it."""
        return self.store.parent(self.path)

    def read(self, name: str) -> bytes:
        """The contents of a file.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
        """
        return self.store.read(self.path, name)

    def __str__(self) -> str:
        return self.store.display(self.path)


def load(roots: Sequence[str | Path] = (), vectors: Iterable[str] = ()) -> Records:
    """Read every trial below the roots (by default Ray's results folder).

    Args:
        roots: folders of trials, of sweeps, or of several sweeps; a trial that is reached twice counts once.
        vectors: further columns of the history to read, which have one value for each class (``per_class``,
            ``class_prior``, ...); ``measured`` stands for everything that methods measured themselves.

    Raises:
        UserError: a root does not exist, or no trial lies below any of them.
    """
    stores = [open_store(str(root)) for root in roots or [DEFAULT_ROOT]]
    folders = _find(stores)
    parents = {folder.parent: folder.store for folder in folders}
    plans = {parent: sweep_folder.read_sweep(store, parent) for parent, store in parents.items()}
    sweeps = {parent: sweep for parent, (sweep, _) in plans.items()}
    columns = tuple(vectors)
    with ThreadPoolExecutor(READERS) as pool:
        outcomes = list(pool.map(lambda folder: _read(folder, sweeps[folder.parent], columns), folders))
    trials = [trial for trial, _ in outcomes if trial is not None]
    problems = [Problem(*problem) for store in stores for problem in store.problems]
    problems += [problem for _, found in plans.values() for problem in found]
    problems += [problem for _, problem in outcomes if problem is not None]
    return Records(
        sorted(trials, key=lambda t: (t.name, t.folder)), sorted(problems, key=str), _waiting(folders, sweeps)
    )


def _find(stores: Sequence[RecordStore]) -> list[TrialFolder]:
    """The folder of every trial; one that several roots reach stands there once."""
    found: dict[str, TrialFolder] = {}
    for store in stores:
        store.check()
        paths = store.trial_folders()
        named = _is_smoke(store, store.uri)
        smoke = {parent for parent in set(map(store.parent, paths)) if _is_smoke(store, parent)}
        for path in paths:
            if named or store.parent(path) not in smoke:
                found.setdefault(store.identity(path), TrialFolder(store, path))
    if not found:
        searched = ", ".join(store.uri for store in stores)
        raise UserError(f"no trial below {searched}: a trial's folder holds config.json, status.json and history.jsonl")
    return list(found.values())


def _is_smoke(store: RecordStore, sweep: str) -> bool:
    """Whether a sweep's folder holds trials of a few steps, which count only where the user names the folder itself."""
    return store.name(sweep).endswith("-smoke")


def _waiting(folders: Sequence[TrialFolder], sweeps: Mapping[str, SweepRecord | None]) -> list[str]:
    """Ids of planned trials without a folder, of the sweeps that were asked for as a whole."""
    found = {PurePosixPath(folder.path).name for folder in folders}
    whole = {folder.parent for folder in folders if not folder.store.is_root(folder.path)}
    plans = [sweeps[parent] for parent in whole]
    return sorted({t for plan in plans if plan and not plan.search for t in plan.planned if t not in found})


def _read(
    folder: TrialFolder, sweep: SweepRecord | None, vectors: tuple[str, ...]
) -> tuple[Trial | None, Problem | None]:
    try:
        return read_trial(folder, sweep, vectors)
    except (OSError, ValueError) as error:
        return None, Problem(str(folder), str(error))


def read_trial(
    folder: TrialFolder, sweep: SweepRecord | None = None, vectors: tuple[str, ...] = ()
) -> tuple[Trial, Problem | None]:
    """Read one folder.

    Where only the settings can be trusted, the trial is ``unreadable`` and a problem says why. Its cell in a table then
    still shows that the trial exists.

    Raises:
        ValueError, OSError: not even the settings can be read.
    """
    trial = _read_settings(folder, sweep)
    try:
        return _with_results(trial, folder, vectors), None
    except (OSError, ValueError) as error:
        return replace(trial, status={"state": "unreadable", "error": str(error)}), Problem(trial.folder, str(error))


def _read_settings(folder: TrialFolder, sweep: SweepRecord | None) -> Trial:
    """The trial as ``config.json`` has it, without any result.

    Raises:
        ValueError, OSError: the file cannot be read or is damaged.
    """
    record = _read_json(folder, "config.json")
    checks.check(record, checks.RECORD, "config.json", required=True)
    checks.check(record, checks.OPTIONAL, "config.json")
    config = record["config"]
    checks.check(config, checks.SETTINGS, "config.json", required=True)
    checks.check_settings(config, settings_of(config["algorithm"]))
    return Trial(
        folder=str(folder),
        trial_id=record["trial_id"],
        name=record["name"],
        sweep=record.get("sweep"),
        config=config | {"algorithm": Algorithm.titled(config["algorithm"], record.get("title"))},
        spec=split_parts(config["dataset"]),
        status={"state": "unreadable"},
        provenance={},
        history=empty_history(VECTORS),
        read=folder.read,
        plan=sweep,
    )


def _with_results(trial: Trial, folder: TrialFolder, vectors: Sequence[str]) -> Trial:
    """The trial with its status, history and provenance.

    Raises:
        ValueError, OSError: a file cannot be read or is damaged.
    """
    status = _read_status(folder)
    text = _history_text(folder, whole=status["state"] == "complete")
    history = read_history(text, [name for name in vectors if name != MEASURED])
    measured = read_measured(text) if MEASURED in vectors else {}
    provenance = _read_provenance(folder)
    checks.check_classes(provenance, history)
    _check_end(status, history)
    return replace(trial, status=status, provenance=provenance, history=history, measured=measured)


def _read_status(folder: TrialFolder) -> Status:
    status = _read_json(folder, "status.json")
    checks.check(status, checks.STATUS, "status.json")
    if status.get("state") not in STATES:
        raise ValueError(f"status.json: unknown state {status.get('state')!r}")
    return cast(Status, status)


def _read_provenance(folder: TrialFolder) -> Provenance:
    """What ``provenance.json`` says, without null; trials that were stopped early have no such file."""
    record = _read_json(folder, "provenance.json", missing={})
    provenance = {key: value for key, value in record.items() if value is not None}
    checks.check(provenance, checks.PROVENANCE, "provenance.json")
    return cast(Provenance, provenance)


def _check_end(status: Status, history: History) -> None:
    """A history that lost its end must not pass as a whole one."""
    steps = history["step"]
    if status["state"] == "complete":
        if len(steps) == 0:
            raise ValueError("history.jsonl holds no evaluation, though the trial is complete")
        if steps[-1] != status.get("steps"):  # the last step is always evaluated
            raise ValueError(f"history.jsonl ends at step {steps[-1]:.0f} of {status.get('steps')}")


def _read_json(folder: TrialFolder, name: str, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """The mapping that a file holds, or ``missing`` where there is no file.

    Raises:
        ValueError: the file is damaged, or it is missing and must not be.
    """
    try:
        value = load_json(folder.read(name))
    except FileNotFoundError:
        if missing is None:
            raise ValueError(f"{name} is missing") from None
        return missing
    except ValueError as error:
        raise ValueError(f"{name} is not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no mapping")
    return value


def _history_text(folder: TrialFolder, *, whole: bool) -> bytes:
    """The text of ``history.jsonl``; empty where the trial has not been evaluated yet, which is no error.

    Args:
        whole: whether the trial has ended. If not, the last line may be half written, and is left out.
    """
    try:
        text = folder.read("history.jsonl")
    except FileNotFoundError:
        text = b""
    return text if whole else text[: text.rfind(b"\n") + 1]


def _reported(trial: Trial, metric: str) -> float:
    return SELECTIONS["last10"].figure(trial.history, metric) if trial.complete else float("nan")


def _trial_row(trial: Trial) -> dict[str, Any]:
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
