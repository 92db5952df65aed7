"""Where a trial's curves are shown beside its own records: TensorBoard, Weights & Biases, MLflow.

The libraries are called here, in the process that trains, and not by Ray's integrations: those see only what reaches
the driver, and after a failure rows are lost or doubled there. A logger can never cost a trial: it runs in a thread of
its own, and the first error ends it with a warning. A resumed trial goes on as the same run, whose id is in its folder.
"""

import importlib.util
import logging
import math
import os
import queue
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cissl.config import TrialConfig
from cissl.errors import UserError, nearest
from cissl.training.atomic_files import read_json, write_json

logger = logging.getLogger(__name__)

DEFAULT = ("tensorboard",)
INSTALL = {  # name → module that it needs, and how to install it
    "tensorboard": ("tensorboard", "pip install -c constraints.txt -e ."),
    "wandb": ("wandb", 'pip install -c constraints.txt -e ".[wandb]"'),
    "mlflow": ("mlflow", 'pip install -c constraints.txt -e ".[mlflow]"'),
}
RUNS = "loggers.json"  # logger → id of the trial's run there
PATIENCE_S = 60.0  # for what is still to be written when a trial ends
STOPPED_PATIENCE_S = 2.0  # when it is interrupted: who does that does not wait long


def check_loggers(names: Iterable[str]) -> tuple[str, ...]:
    """See that there are such loggers, and that their libraries are installed.

    Raises:
        UserError: there are not; with the command that installs a library.
    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in INSTALL:
            raise UserError(f"there is no logger '{name}'{nearest(str(name), INSTALL)}", key="loggers")
        module, install = INSTALL[name]
        if importlib.util.find_spec(module) is None:
            raise UserError(f"the logger '{name}' needs {module}, which is not installed: {install}", key="loggers")
    return names


class Loggers:
    """A trial's loggers together.

    Args:
        names: of the loggers.
        config: the trial's settings.
        folder: the trial's.
        sweep: name of its sweep, which becomes the project or experiment.
        step: that the trial goes on from.
    """

    def __init__(self, names: Sequence[str], config: TrialConfig, folder: Path, sweep: str | None, step: int):
        self._threads = [_Thread(name, (config, folder, sweep, step)) for name in names]

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show an evaluation's figures; those that are not finite are left out."""
        shown = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
        for thread in self._threads:
            thread.calls.put(("log", (shown, step)))

    def close(self, state: str) -> None:
        """End the runs; `state` as in `records.write_status`."""
        for thread in self._threads:
            thread.calls.put(("close", (state,)))
        end = time.monotonic() + (STOPPED_PATIENCE_S if state == "stopped" else PATIENCE_S)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                logger.warning("the logger %s does not answer; the trial goes on without it", thread.logger_name)


class _Thread(threading.Thread):
    """Runs one logger, so that no server and no disk holds up training."""

    def __init__(self, name: str, arguments: tuple):
        super().__init__(daemon=True)
        self.logger_name, self._arguments = name, arguments
        self.calls: queue.SimpleQueue = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        try:
            target = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": MLflow}[self.logger_name](*self._arguments)
            function = ""
            while function != "close":
                function, arguments = self.calls.get()
                getattr(target, function)(*arguments)
        except BaseException as error:  # whatever a library raises, the trial goes on
            words = " ".join(str(error).split())
            logger.warning("the logger %s has ended: %s: %.300s", self.logger_name, type(error).__name__, words)


class TensorBoard:
    """Events in the trial's folder; those after its checkpoint belong to the interrupted run, and are dropped."""

    def __init__(self, config: TrialConfig, folder: Path, sweep: str | None, step: int):
        from torch.utils.tensorboard import SummaryWriter

        self._events = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()

    def close(self, state: str) -> None:
        self._events.close()


class Wandb:
    """A run of the project that the sweep, else ``WANDB_PROJECT``, names; the other ``WANDB_…`` variables hold."""

    def __init__(self, config: TrialConfig, folder: Path, sweep: str | None, step: int):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or sweep or "cissl",
            id=_run_id(folder, "wandb", uuid.uuid4().hex[:12]),
            name=config.name,
            group=config.algorithm,
            config=_flat(config, sweep),
            dir=str(folder),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)  # steps that the run has already are passed over

    def close(self, state: str) -> None:
        self._run.finish(exit_code=int(state != "complete"))


class MLflow:
    """A run of the experiment that the sweep, else ``MLFLOW_EXPERIMENT_NAME``, names.

    It is kept where ``MLFLOW_TRACKING_URI`` says, else in ``mlflow.db`` in the folder of the trial's sweep.
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
            self._last = max((metric.step for metric in history), default=0)
            return
        experiment = _experiment(self._client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or sweep or "cissl", folder)
        self._id = self._client.create_run(experiment, run_name=config.name).info.run_id
        _run_id(folder, "mlflow", self._id)
        self._last = 0
        params = [Param(key, str(value)) for key, value in _flat(config, sweep).items()]
        for start in range(0, len(params), 100):  # as many as MLflow takes at once
            self._client.log_batch(self._id, params=params[start : start + 100])
        self._client.log_batch(self._id, tags=[RunTag("algorithm", config.algorithm), RunTag("folder", str(folder))])

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step > self._last:  # what was logged before an interruption is not logged again
            now = int(time.time() * 1000)
            self._client.log_batch(self._id, metrics=[self._metric(k, v, now, step) for k, v in values.items()])

    def close(self, state: str) -> None:
        self._client.set_terminated(self._id, self.ENDS.get(state, "FAILED"))


def _experiment(client: Any, name: str, folder: Path) -> str:
    """The id of an experiment, which another trial may make at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=(folder.parent / "mlflow").as_uri())
        except Exception:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return found.experiment_id


def _run_id(folder: Path, name: str, fresh: str) -> str:
    """The id of the trial's run, `fresh` where it has none yet."""
    with _LOCK:
        runs = read_json(folder / RUNS) or {}
        if name not in runs:
            write_json(folder / RUNS, {**runs, name: fresh})
        return runs.get(name, fresh)


_LOCK = threading.Lock()


def _flat(config: TrialConfig, sweep: str | None) -> dict[str, Any]:
    """A trial's settings, and what it is called."""
    return {"trial_id": config.trial_id, "sweep": sweep, "config_hash": config.hash, **config.to_dict()}
