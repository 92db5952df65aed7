"""Loggers for real: MLflow with a store in SQLite, Weights & Biases offline; no server is asked."""

import json
import logging
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training import loggers, records
from cissl.training.loggers import MLflow, TensorBoard, check_loggers
from cissl.training.trial import run_trial
from cissl.tuning import sweep_file
from tests.training import short_trial

BATCH = short_trial.SETTINGS["batch"] / 1024
CONFIG = TrialConfig(
    **short_trial.settings(algorithm="fixmatch", train_kimg=6 * BATCH, report_kimg=BATCH, save_kimg=2 * BATCH)
)


def stop(row):
    if row["step"] == 3:
        raise KeyboardInterrupt


def interrupted_and_resumed(folder, names):
    """A trial that is interrupted after an evaluation which no checkpoint has, and then goes on."""
    with pytest.raises(KeyboardInterrupt):
        run_trial(CONFIG, folder, device="cpu", sweep="night", on_evaluation=stop, loggers=names)
    return run_trial(CONFIG, folder, device="cpu", sweep="night", loggers=names)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(loggers, "STOPPED_PATIENCE_S", 60.0)  # a busy machine


@pytest.mark.slow
def test_mlflow_has_settings_and_every_evaluation_once_in_one_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    last = interrupted_and_resumed(tmp_path / "trial", ["mlflow"])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("night")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == CONFIG.name
    assert run.data.params["lr"] == str(CONFIG.lr) and run.data.params["trial_id"] == CONFIG.trial_id
    assert {*map(str, CONFIG.to_dict())} <= run.data.params.keys()
    accuracy = client.get_metric_history(run.info.run_id, "accuracy")
    rows = records.read_history(tmp_path / "trial")
    assert [(metric.step, metric.value) for metric in accuracy] == [(row["step"], row["accuracy"]) for row in rows]
    assert run.data.metrics["loss"] == pytest.approx(last["loss"]) and len(run.data.metrics) >= 8


@pytest.mark.slow
def test_wandb_offline_goes_on_as_the_same_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    interrupted_and_resumed(tmp_path / "trial", ["wandb"])
    run = json.loads((tmp_path / "trial" / "loggers.json").read_text())["wandb"]
    assert json.loads((tmp_path / "trial" / "loggers.json").read_text())["wandb_step"] == CONFIG.steps
    folders = sorted((tmp_path / "trial" / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 and all(folder.name.endswith(run) for folder in folders)
    assert all((folder / f"run-{run}.wandb").stat().st_size > 0 for folder in folders)


def test_evaluations_that_a_logger_had_no_time_for_are_sent_when_the_trial_goes_on(tmp_path, monkeypatch):
    """An interrupted trial does not wait for a store that is being made; another logger comes later."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with monkeypatch.context() as hasty:
        hasty.setattr(loggers._Thread, "run", lambda self: None)
        hasty.setattr(loggers, "STOPPED_PATIENCE_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            run_trial(CONFIG, tmp_path / "trial", device="cpu", on_evaluation=stop, loggers=["mlflow"])
    run_trial(CONFIG, tmp_path / "trial", device="cpu", loggers=["mlflow", "tensorboard"])
    steps = [row["step"] for row in records.read_history(tmp_path / "trial")]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("cissl").experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "accuracy")] == steps == [*range(1, 7)]
    events = EventAccumulator(str(tmp_path / "trial" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("accuracy")] == steps


def test_a_logger_that_fails_costs_no_trial(tmp_path, monkeypatch, caplog):
    pytest.importorskip("mlflow")

    def refuse(self, values, step):
        raise ConnectionError("the server has gone")

    monkeypatch.setattr(MLflow, "log", refuse)
    with caplog.at_level(logging.WARNING):
        last = run_trial(CONFIG, tmp_path / "trial", device="cpu", loggers=["mlflow", "tensorboard"])
    assert last["step"] == CONFIG.steps and records.read_status(tmp_path / "trial")["state"] == "complete"
    assert "the logger mlflow has ended: ConnectionError: the server has gone" in caplog.text
    assert list((tmp_path / "trial" / "tensorboard").glob("events*"))


def test_mistakes_are_told_at_their_line(tmp_path, monkeypatch):
    path = tmp_path / "s.yaml"
    path.write_text("settings: {dataset: digits, labeled_size: 100}\nloggers: [tensorboard, wandbb]\n")
    with pytest.raises(UserError, match=r"s.yaml:2: .*there is no logger 'wandbb'; did you mean 'wandb'"):
        sweep_file.load(path)
    path.write_text("settings: {dataset: digits, labeled_size: 100}\nloggers: []\n")
    assert sweep_file.load(path).loggers == ()
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs mlflow, which is not installed: pip install .*\[mlflow\]"):
        check_loggers(["mlflow"])


def test_what_mlflows_own_store_needs_is_told_before_the_training(monkeypatch):
    installed = loggers.importlib.util.find_spec("json")
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None if name == "sqlalchemy" else installed)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"'mlflow' needs sqlalchemy, which is not installed: pip install .*\[mlflow\]"):
        check_loggers(["mlflow"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert check_loggers(["mlflow"]) == ("mlflow",)


def test_tensorboard_on_a_full_disk_is_told_once_and_without_a_traceback(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    with pytest.raises(OSError, match="No space left"):
        board = TensorBoard(CONFIG, tmp_path, None, 0)
        board.log({"accuracy": 1.0}, 1)
    assert reported == []
    other = threading.Thread(target=lambda: 1 / 0)
    other.start()
    other.join()
    assert [error.exc_type for error in reported] == [ZeroDivisionError]
