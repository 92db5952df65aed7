"""Loggers, which show a trial's curves beside its own records: TensorBoard, Weights & Biases, MLflow.

The process that trains calls these libraries itself. Ray's integrations are not used: they see only what reaches the
driver, and they lose or repeat rows after a failure. A logger cannot end a trial: it runs in a thread of its own, and
its first error ends only the logger, with a warning. A resumed trial continues the same run; its folder has the run's
id. Evaluations that the run lacks, since the logger had no time for them before an interruption, are sent first.
"""

import functools
import importlib.util
import logging
import math
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cissl.atomic_files import read_json, write_json
from cissl.config import TrialConfig
from cissl.errors import UserError, nearest

logger = logging.getLogger(__name__)

Figures = Mapping[str, float | None]
Fact = TypeVar("Fact", str, int)

DEFAULT = ("tensorboard",)
INSTALL = {  # name → how to install what it needs
    "tensorboard": "pip install -c constraints.txt -e .",
    "wandb": 'pip install -c constraints.txt -e ".[wandb]"',
    "mlflow": 'pip install -c constraints.txt -e ".[mlflow]"',
}
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # MLflow's own stores, which need more than its client
RUNS = "loggers.json"  # logger → id of the trial's run there
WANDB_STEP = "wandb_step"  # beside them: W&B is not asked for the last step of a run, since it may be offline
PATIENCE_S = 60.0  # how long a trial waits at its end for loggers that still write
STOPPED_PATIENCE_S = 2.0  # the same for an interrupted trial: somebody waits for it


def check_loggers(names: Iterable[str]) -> tuple[str, ...]:
    """Check that these loggers exist and that their libraries are installed.

    Returns:
        The names, each once.

    Raises:
        UserError: there is no such logger, or its library is missing; the message has the command that installs it.
    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in INSTALL:
            raise UserError(f"there is no logger '{name}'{nearest(str(name), INSTALL)}", key="loggers")
        for module in _modules(name):
            if importlib.util.find_spec(module) is None:
                raise UserError(
                    f"the logger '{name}' needs {module}, which is not installed: {INSTALL[name]}", key="loggers"
                )
    return names


def _modules(name: str) -> tuple[str, ...]:
    """What a logger imports where it is used as the environment says."""
    if name == "mlflow" and os.environ.get("MLFLOW_TRACKING_URI", "sqlite:").startswith(DATABASES):
        return "mlflow", "sqlalchemy", "alembic"
    return (name,)


class Logger(Protocol):
    """Shows one trial's curves somewhere.

    Attributes:
        last: after how many updates the last evaluation was made that the run has.
    """

    last: int

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show the figures of an evaluation after `step` updates."""

    def close(self, state: str) -> None:
        """End the run; `state` as in `records.write_status`."""


class Loggers:
    """All loggers of a trial.

    Args:
        names: of the loggers; see `check_loggers`.
        config: the trial's settings.
        folder: the trial's folder.
        sweep: name of its sweep, which becomes the project or experiment; None for a single trial.
        step: the step that the trial starts or resumes at.
        past: the figures of each evaluation up to this step, and how many updates were made before it.
    """

    def __init__(
        self,
        names: Sequence[str],
        config: TrialConfig,
        folder: Path,
        sweep: str | None,
        step: int,
        past: Sequence[tuple[Figures, int]] = (),
    ):
        shown = [(_finite(values), at) for values, at in past]
        self._threads = [_Thread(name, (config, folder, sweep, step), shown) for name in names]

    def log(self, values: Figures, step: int) -> None:
        """Show the figures of an evaluation after `step` updates; those that are not finite are left out."""
        shown = _finite(values)
        for thread in self._threads:
            thread.calls.put(("log", (shown, step)))

    def close(self, state: str) -> None:
        """End the runs, and wait a while for what is still to be written; `state` as in `records.write_status`."""
        for thread in self._threads:
            thread.calls.put(("close", (state,)))
        end = time.monotonic() + (STOPPED_PATIENCE_S if state == "stopped" else PATIENCE_S)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                logger.warning("the logger %s does not answer; the trial goes on without it", thread.logger_name)


def _finite(values: Figures) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


class _Thread(threading.Thread):
    """Runs one logger, so that training waits for no server and no disk."""

    def __init__(
        self,
        name: str,
        arguments: tuple[TrialConfig, Path, str | None, int],
        past: Sequence[tuple[Mapping[str, float], int]],
    ):
        super().__init__(daemon=True)
        self.logger_name, self._arguments, self._past = name, arguments, past
        self.calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]]] = queue.SimpleQueue()
        """name of a function of `Logger`, and its arguments"""
        self.start()

    def run(self) -> None:
        """Make the logger, and call its functions until it is closed."""
        try:
            target = KINDS[self.logger_name](*self._arguments)
            for values, step in self._past:
                if step > target.last:
                    target.log(values, step)
            function = ""
            while function != "close":
                function, arguments = self.calls.get()
                getattr(target, function)(*arguments)
        except BaseException as error:  # the trial goes on, whatever a library raises
            words = " ".join(str(error).split())
            logger.warning("the logger %s has ended: %s: %.300s", self.logger_name, type(error).__name__, words)


def _report(report: Callable[[threading.ExceptHookArgs], object], error: threading.ExceptHookArgs) -> None:
    """Report the end of a thread by an error, but of TensorBoard's own thread: `flush` raises the same error."""
    if type(error.thread).__module__ != "tensorboard.summary.writer.event_file_writer":
        report(error)


class TensorBoard:
    """Events in the trial's folder. A resumed trial drops the events after its checkpoint, since it repeats them.

    Args:
        config, folder, sweep, step: as for `Loggers`.
    """

    def __init__(self, config: TrialConfig, folder: Path, sweep: str | None, step: int):
        from torch.utils.tensorboard import SummaryWriter

        if getattr(threading.excepthook, "func", None) is not _report:
            threading.excepthook = functools.partial(_report, threading.excepthook)
        place = folder / "tensorboard"
        self.last = step if any(place.glob("events*")) else 0
        self._events = SummaryWriter(place, purge_step=step + 1)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the figures of an evaluation after `step` updates."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()
        self.last = step

    def close(self, state: str) -> None:
        """Close the file of events."""
        self._events.close()


class Wandb:
    """A run of Weights & Biases.

    Its project is ``WANDB_PROJECT``, else the sweep's name. The other ``WANDB_…`` variables work as usual.

    Args:
        config, folder, sweep, step: as for `Loggers`.
    """

    def __init__(self, config: TrialConfig, folder: Path, sweep: str | None, step: int):
        import wandb

        runs = read_json(folder / RUNS) or {}
        self._folder, self.last = folder, runs.get(WANDB_STEP, step if "wandb" in runs else 0)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or sweep or "cissl",
            id=runs.get("wandb") or _remembered(folder, "wandb", uuid.uuid4().hex[:12]),
            name=config.name,
            group=config.algorithm,
            config=_flat(config, sweep),
            dir=str(folder),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the figures of an evaluation after `step` updates; a step that the run has already is left out."""
        if step > self.last:
            self._run.log(dict(values), step=step)
            self.last = _remembered(self._folder, WANDB_STEP, step)

    def close(self, state: str) -> None:
        """End the run; one that is not complete has a failure's exit code."""
        self._run.finish(exit_code=int(state != "complete"))


class MLflow:
    """A run of MLflow.

    Its experiment is ``MLFLOW_EXPERIMENT_NAME``, else the sweep's name. It is kept where ``MLFLOW_TRACKING_URI`` says,
    else in ``mlflow.db`` in the folder of the trial's sweep.

    Args:
        config, folder, sweep, step: as for `Loggers`.
    """

    ENDS = {"complete": "FINISHED", "stopped": "KILLED"}

    def __init__(self, config: TrialConfig, folder: Path, sweep: str | None, step: int):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        self._metric = Metric
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parent / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=place)
        known = (read_json(folder / RUNS) or {}).get("mlflow")
        if known:
            self._id = known
            self._client.update_run(self._id, status="RUNNING")
            history = self._client.get_metric_history(self._id, "accuracy")
            self.last = max((metric.step for metric in history), default=0)
            return
        experiment = _experiment(self._client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or sweep or "cissl", folder)
        self._id = self._client.create_run(experiment, run_name=config.name).info.run_id
        _remembered(folder, "mlflow", self._id)
        self.last = 0
        params = [Param(key, str(value)) for key, value in _flat(config, sweep).items()]
        for start in range(0, len(params), 100):  # as many as MLflow takes at once
            self._client.log_batch(self._id, params=params[start : start + 100])
        self._client.log_batch(self._id, tags=[RunTag("algorithm", config.algorithm), RunTag("folder", str(folder))])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send the figures of an evaluation after `step` updates; a step that the run has already is left out."""
        if step > self.last:
            now = int(time.time() * 1000)
            self._client.log_batch(self._id, metrics=[self._metric(k, v, now, step) for k, v in values.items()])
            self.last = step

    def close(self, state: str) -> None:
        """End the run as finished, killed or failed."""
        self._client.set_terminated(self._id, self.ENDS.get(state, "FAILED"))


KINDS: dict[str, Callable[[TrialConfig, Path, str | None, int], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": MLflow,
}


def _experiment(client: Any, name: str, folder: Path) -> str:
    """The id of an experiment, which another trial may make at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=(folder.parent / "mlflow").as_uri()))
        except Exception:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _remembered(folder: Path, name: str, value: Fact) -> Fact:
    """The value, which the trial's folder has from now on."""
    with _LOCK:
        write_json(folder / RUNS, {**(read_json(folder / RUNS) or {}), name: value})
    return value


_LOCK = threading.Lock()


def _flat(config: TrialConfig, sweep: str | None) -> dict[str, Any]:
    """A trial's settings, and what it is called."""
    return {"trial_id": config.trial_id, "sweep": sweep, "config_hash": config.hash, **config.to_dict()}
