"""One trial in its folder: records, resumption bit for bit, failures."""

import contextlib
import dataclasses
import json
import math
import resource
import shutil

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cissl import datasets
from cissl.augment.ops import to_float
from cissl.config import TrialConfig
from cissl.datasets import store, writing
from cissl.errors import UserError
from cissl.models.backbones import build
from cissl.training import metrics, records
from cissl.training.checkpoint import checkpoints
from cissl.training.loggers import Loggers
from cissl.training.trainer import Trainer, TrialDiverged
from cissl.training.trial import run_trial
from tests.training import short_trial


def kimg(steps):
    return steps * short_trial.SETTINGS["batch"] / 1024


SETTINGS = dict(
    algorithm="cadr",
    train_kimg=kimg(24),
    report_kimg=kimg(6),
    save_kimg=kimg(4),
    keep_training_state=True,
)
TINY = TrialConfig(**short_trial.settings(**SETTINGS))

pytestmark = pytest.mark.usefixtures("one_thread")


def results(folder):
    """All that must not depend on interruptions: history without times, confusions, the last checkpoint's tensors."""
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in records.read_history(folder)]
    state = torch.load(checkpoints(folder / "checkpoints")[-1], weights_only=True)["trainer"]
    return history, np.load(folder / "confusion.npy"), flat(state)


def flat(state, prefix=""):
    tensors = {}
    for key, value in state.items():
        if isinstance(value, dict):
            tensors |= flat(value, f"{prefix}{key}/")
        elif isinstance(value, torch.Tensor):
            tensors[prefix + key] = value
    return tensors


def kept(history):
    """Share of pseudo-labels kept: where there are none, a test has not seen the unlabeled loss."""
    return np.mean([row["mask_ratio"] for row in history])


def assert_same_results(folder, other):
    history, confusion, tensors = results(folder)
    other_history, other_confusion, other_tensors = results(other)
    assert history == other_history
    np.testing.assert_array_equal(confusion, other_confusion)
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name


def test_records_of_a_complete_trial(tmp_path):
    seen = []
    last = run_trial(TINY, tmp_path, sweep="a sweep", on_evaluation=seen.append)
    assert [row["step"] for row in seen] == [6, 12, 18, 24]
    assert records.read_history(tmp_path)[-1] == records.without_nan(last)

    config = json.loads((tmp_path / "config.json").read_text())
    assert config["trial_id"] == TINY.trial_id and config["sweep"] == "a sweep"
    assert TrialConfig.from_mapping(config["config"]) == TINY
    status = records.read_status(tmp_path)
    assert (status["state"], status["step"], status["steps"], status["error"]) == ("complete", 24, 24, None)

    dataset = datasets.load(TINY.dataset)
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["split_hash"] == dataset.split_hash
    assert facts["labeled_counts"] == list(dataset.labeled_counts)
    assert facts["valid_labeled"] == dataset.valid_labeled
    assert facts["versions"]["torch"] and facts["threads"] == 1
    assert facts["processor"]["model"] and facts["processor"]["kernels"] == torch.backends.cpu.get_cpu_capability()

    confusion = np.load(tmp_path / "confusion.npy")
    assert confusion.shape == (4, 10, 10) and (confusion.sum((1, 2)) == facts["test_size"]).all()
    for row, counts in zip(records.read_history(tmp_path), confusion, strict=True):
        assert row["accuracy"] == pytest.approx(metrics.accuracy(counts))
        assert row["gmean"] == pytest.approx(metrics.geometric_mean(counts))
        assert sum(row["class_prior"]) == pytest.approx(1, abs=1e-5)
        unlabeled = TINY.report_steps * TINY.batch * TINY.uratio
        assert sum(row["pseudo_kept"]) == pytest.approx(row["mask_ratio"] * unlabeled)
        assert all(right <= kept for right, kept in zip(row["pseudo_correct"], row["pseudo_kept"], strict=True))
    stats = json.loads((tmp_path / "stats" / "accuracy.json").read_text())
    assert stats["last10"]["mean"] == pytest.approx(np.mean([row["accuracy"] for row in seen]))
    assert (tmp_path / "stats" / "GM.json").exists()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    row = records.read_history(tmp_path)[-1]
    for tag, value in (
        ("accuracy", row["accuracy"]),
        ("terms/unlabeled", row["terms"]["unlabeled"]),
        ("measured/thresholds/9", row["measured"]["thresholds"][9]),
    ):
        assert events.Scalars(tag)[-1].value == pytest.approx(value)
    assert len(checkpoints(tmp_path / "checkpoints")) == TINY.keep_ckpt


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "supervised"},
        {"augment": "m.x.rac", "algorithm": "cai"},
        {"dataset": "digits.1@40-1", "seed": 3, "confidence": 0.15},
    ],
    ids=str,
)
def test_an_interrupted_and_resumed_trial_ends_bit_identical(tmp_path, changes):
    config = TrialConfig(**short_trial.settings(**SETTINGS | changes))
    run_trial(config, tmp_path / "undisturbed")

    resumed = tmp_path / "resumed"
    for step in (6, 18):  # between two checkpoints, so steps and one evaluation are made again
        with pytest.raises(KeyboardInterrupt):
            run_trial(config, resumed, on_evaluation=stopping_at(step))
        assert records.read_status(resumed)["state"] == "stopped"
    run_trial(config, resumed)
    assert_same_results(tmp_path / "undisturbed", resumed)
    if config.algorithm != "supervised":
        assert kept(records.read_history(resumed)) > 0.1


def test_a_complete_trial_leaves_its_averaged_weights_alone(tmp_path):
    last = run_trial(dataclasses.replace(TINY, keep_training_state=False), tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    network = build("wrn", classes=10, side=8, channels=1, filters=4, repeat=1, scales=2).eval()
    network.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    data = datasets.load(TINY.dataset)
    with torch.no_grad():
        predicted = network(to_float(torch.from_numpy(data.test_images).permute(0, 3, 1, 2))).argmax(1)
    assert 100 * (predicted.numpy() == data.test_labels).mean() == pytest.approx(last["accuracy"], abs=0.2)


def test_state_that_matters_is_in_the_checkpoint(tmp_path):
    run_trial(TINY, tmp_path)
    tensors = results(tmp_path)[2]
    rates = [tensor for name, tensor in tensors.items() if name.startswith("augmentation/")]
    assert rates and any((rate != 1).any() for rate in rates)
    assert not torch.allclose(tensors["learner/state/class_prior"], torch.full((10,), 0.1))


def test_a_complete_trial_is_not_trained_again(tmp_path):
    last = run_trial(TINY, tmp_path)
    written = (tmp_path / "status.json").stat().st_mtime_ns
    assert run_trial(TINY, tmp_path, on_evaluation=pytest.fail)["step"] == last["step"]
    assert (tmp_path / "status.json").stat().st_mtime_ns == written


def test_a_damaged_checkpoint_costs_steps_but_no_result(tmp_path):
    run_trial(TINY, tmp_path / "undisturbed")
    damaged = tmp_path / "damaged"
    with pytest.raises(KeyboardInterrupt):
        run_trial(TINY, damaged, on_evaluation=stopping_at(12))
    newest = checkpoints(damaged / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-200])
    run_trial(TINY, damaged)
    assert_same_results(tmp_path / "undisturbed", damaged)
    assert records.read_status(damaged)["damaged"] == [newest.with_suffix(".damaged").name]


@pytest.mark.parametrize("name", ["history.jsonl", "confusion.npy"])
def test_a_damaged_history_costs_steps_but_no_result(tmp_path, name, caplog):
    """What was recorded until a checkpoint is gone, so that only an earlier checkpoint, or the start, can be used."""
    run_trial(TINY, tmp_path / "undisturbed")
    damaged = tmp_path / "damaged"
    with pytest.raises(KeyboardInterrupt):
        run_trial(TINY, damaged, on_evaluation=stopping_at(12))
    path = damaged / name
    path.write_bytes(path.read_bytes()[:-20])  # of the second evaluation, at the step of the last checkpoint
    run_trial(TINY, damaged)
    assert_same_results(tmp_path / "undisturbed", damaged)
    assert records.read_status(damaged)["damaged"] == ["step_0000000012.damaged"]
    assert name in caplog.text


def test_a_checkpoint_of_the_first_version_holds_the_history_and_is_gone_on_from(tmp_path):
    run_trial(TINY, tmp_path / "undisturbed")
    old = tmp_path / "old"
    with pytest.raises(KeyboardInterrupt):
        run_trial(TINY, old, on_evaluation=stopping_at(12))
    (before, *_, newest) = checkpoints(old / "checkpoints")
    before.unlink()
    state = torch.load(newest, weights_only=True)
    count = state.pop("history")["rows"]
    rows, confusions = records.read_history(old)[:count], np.load(old / "confusion.npy")[:count]
    state["trainer"] |= {"history": rows, "confusions": torch.from_numpy(confusions).long()}
    torch.save(state, newest)
    (old / "history.jsonl").unlink()
    run_trial(TINY, old)
    assert_same_results(tmp_path / "undisturbed", old)


def test_a_checkpoint_does_not_grow_with_the_evaluations(tmp_path):
    sizes = []

    def measure(row):
        sizes.append(checkpoints(tmp_path / "checkpoints")[-1].stat().st_size if row["step"] > 1 else None)

    config = dataclasses.replace(TINY, report_kimg=kimg(1), save_kimg=kimg(1))
    run_trial(config, tmp_path, on_evaluation=measure)
    assert len(sizes) == 24
    assert max(sizes[2:]) - min(sizes[2:]) <= 64  # the compiler's alignment; a matrix of 10 classes has 800 bytes


def test_a_full_disk_costs_steps_but_no_result(tmp_path):
    run_trial(TINY, tmp_path / "undisturbed")
    full = tmp_path / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(row):
        if row["step"] == 12:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # room for records, not for checkpoints

    try:
        with pytest.raises((OSError, RuntimeError)):
            run_trial(TINY, full, on_evaluation=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert records.read_status(full)["state"] == "failed"
    assert {path.name for path in (full / "checkpoints").iterdir()} == {"step_0000000008.pt", "step_0000000012.pt"}
    run_trial(TINY, full)
    assert_same_results(tmp_path / "undisturbed", full)


def test_another_trials_folder_is_refused(tmp_path):
    run_trial(TINY, tmp_path)
    other = dataclasses.replace(TINY, lr=0.01)
    with pytest.raises(UserError, match=TINY.trial_id):
        run_trial(other, tmp_path)


def own_data(data_dir, *, seed=0, classes=3, images=60):
    """A data set 'own' in a data directory, in place of any other."""
    generator = np.random.default_rng(seed)
    labels, test_labels = np.arange(images) % classes, np.arange(15) % classes
    shutil.rmtree(data_dir / "own", ignore_errors=True)
    (data_dir / "own").mkdir()
    made = store.SourceImages(
        class_names=["a", "b", "c"],
        train_images=generator.integers(0, 256, (images, 8, 8, 1), dtype=np.uint8),
        train_labels=labels,
        test_images=generator.integers(0, 256, (15, 8, 8, 1), dtype=np.uint8),
        test_labels=test_labels,
    )
    writing.write(data_dir / "own", made, {})
    return data_dir


OWN = dataclasses.replace(TINY, dataset="own.1@12-3", train_kimg=kimg(12))
OTHER_IMAGES, OTHER_SPLIT = {"seed": 7}, {"images": 90}


def forget_data(folder, state):
    """The records as the first version wrote them: the split was known, the content was not."""
    facts = json.loads((folder / "provenance.json").read_text())
    del facts["content_hash"]
    (folder / "provenance.json").write_text(json.dumps(facts))
    state.pop("data")


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("changes, words", [(OTHER_IMAGES, "content_hash"), (OTHER_SPLIT, "split_hash")], ids=str)
def test_a_trial_of_other_data_is_refused(tmp_path, complete, changes, words):
    data_dir, folder = own_data(tmp_path), tmp_path / "trial"
    stop = None if complete else stopping_at(12)
    with contextlib.suppress(KeyboardInterrupt):
        run_trial(dataclasses.replace(OWN, train_kimg=kimg(18)), folder, data_dir=data_dir, on_evaluation=stop)
    config = TrialConfig.from_mapping(json.loads((folder / "config.json").read_text())["config"])
    assert records.read_status(folder)["state"] == ("complete" if complete else "stopped")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    own_data(tmp_path, **changes)
    with pytest.raises(UserError, match=rf"{folder} was trained on other data than own\.1@12-3 is now: .*{words}"):
        run_trial(config, folder, data_dir=data_dir)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    own_data(tmp_path)
    assert run_trial(config, folder, data_dir=data_dir)["step"] == 18


def test_a_trial_that_has_not_come_to_a_checkpoint_takes_the_present_data(tmp_path):
    data_dir, folder = own_data(tmp_path), tmp_path / "trial"
    late = dataclasses.replace(OWN, save_kimg=kimg(1000))
    with pytest.raises(KeyboardInterrupt):
        run_trial(late, folder, data_dir=data_dir, on_evaluation=stopping_at(6))
    own_data(tmp_path, **OTHER_SPLIT)
    run_trial(late, folder, data_dir=data_dir)
    run_trial(late, tmp_path / "other", data_dir=data_dir)
    assert_same_results(tmp_path / "other", folder)


@pytest.mark.parametrize("changes, refused", [({}, False), (OTHER_IMAGES, False), (OTHER_SPLIT, True)], ids=str)
def test_of_records_without_the_content_the_split_is_compared(tmp_path, changes, refused):
    data_dir, folder = own_data(tmp_path), tmp_path / "trial"
    with pytest.raises(KeyboardInterrupt):
        run_trial(OWN, folder, data_dir=data_dir, on_evaluation=stopping_at(6))
    (newest,) = checkpoints(folder / "checkpoints")
    state = torch.load(newest, weights_only=True)
    forget_data(folder, state)
    torch.save(state, newest)
    own_data(tmp_path, **changes)
    if refused:
        with pytest.raises(UserError, match="split_hash"):
            run_trial(OWN, folder, data_dir=data_dir)
    else:
        assert run_trial(OWN, folder, data_dir=data_dir)["step"] == OWN.steps


def test_a_checkpoint_of_another_trial_is_refused(tmp_path):
    for name, config in (("one", TINY), ("other", dataclasses.replace(TINY, filters=8))):
        with pytest.raises(KeyboardInterrupt):
            run_trial(config, tmp_path / name, on_evaluation=stopping_at(12))
    newest = checkpoints(tmp_path / "one" / "checkpoints")[-1]
    shutil.copy(checkpoints(tmp_path / "other" / "checkpoints")[-1], newest)
    with pytest.raises(UserError, match=f"{newest.name} is of another trial"):
        run_trial(TINY, tmp_path / "one")
    state = torch.load(newest, weights_only=True)
    del state["config_hash"]  # the first version did not say whose it was
    state["history"] = torch.load(checkpoints(tmp_path / "one" / "checkpoints")[0], weights_only=True)["history"]
    torch.save(state, newest)
    with pytest.raises(UserError, match=rf"{newest.name} does not fit .*size mismatch.*move it away"):
        run_trial(TINY, tmp_path / "one")


def test_the_step_that_a_trial_goes_on_from_is_that_of_its_checkpoint(tmp_path):
    starts = []
    late = dataclasses.replace(TINY, save_kimg=kimg(16))
    for stop in (6, 18, None):
        with contextlib.suppress(ZeroDivisionError):
            run_trial(late, tmp_path, on_start=starts.append, on_evaluation=failing_at(stop))
        if stop:
            status = records.read_status(tmp_path)
            assert (status["step"], records.resumes_at(status)) == {6: (6, 0), 18: (18, 16)}[stop]
    run_trial(late, tmp_path, on_start=starts.append)
    assert starts == [0, 0, 16, 24]
    assert records.resumes_at({"step": 12}) == 12  # as the first version wrote it


@pytest.mark.parametrize("text", ["", '{"state": "runn', "[]", "3", "{}", "[" * 100_000], ids=lambda text: text[:20])
def test_a_damaged_status_costs_nothing(tmp_path, text, caplog):
    with pytest.raises(KeyboardInterrupt):
        run_trial(TINY, tmp_path, on_evaluation=stopping_at(12))
    path = tmp_path / "status.json"
    path.write_text(text)
    run_trial(TINY, tmp_path, on_start=lambda step: pytest.fail() if step != 12 else None)
    assert str(path) in caplog.text

    path.write_text(text)
    run_trial(TINY, tmp_path)  # from the last checkpoint, which says that all is done
    shutil.rmtree(tmp_path / "checkpoints")
    path.write_text(text)
    with pytest.raises(UserError, match="status.json is missing or damaged, though weights.pt"):
        run_trial(TINY, tmp_path)


@pytest.mark.parametrize("text", ["", '{"config_hash": "12', "[]", '{"trial_id": "x"}'])
def test_a_folder_of_which_it_is_not_known_whose_it_is_is_refused(tmp_path, text):
    with pytest.raises(KeyboardInterrupt):
        run_trial(TINY, tmp_path, on_evaluation=stopping_at(12))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=f"config.json cannot be read.*{TINY.trial_id}, delete"):
        run_trial(TINY, tmp_path)
    (tmp_path / "config.json").unlink()
    run_trial(TINY, tmp_path, on_start=lambda step: pytest.fail() if step != 12 else None)


def test_a_folder_where_a_file_belongs_and_the_reverse_is_refused_before_anything_is_written(tmp_path):
    """Else the trial fails when it comes to write there, after other files."""
    folder = tmp_path / "trial"
    with pytest.raises(KeyboardInterrupt):
        run_trial(TINY, folder, on_evaluation=stopping_at(12))
    files = ["status.json", "provenance.json", "history.jsonl", "confusion.npy", "stats/GM.json", "weights.pt"]
    for name in [*files, "checkpoints/step_0000000008.pt", "checkpoints", "stats"]:
        path, aside = folder / name, tmp_path / "aside"
        if path.exists():
            path.rename(aside)
        path.mkdir() if path.suffix else path.write_text("")
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        with pytest.raises(UserError, match=rf"{path} is a (folder|file), where the trial keeps a"):
            run_trial(TINY, folder)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        path.rmdir() if path.suffix else path.unlink()
        if aside.exists():
            aside.rename(path)
    run_trial(TINY, folder, on_start=lambda step: pytest.fail() if step != 12 else None)


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[: len(text) // 2], lambda text: "{\n" + text])
def test_a_complete_trial_without_its_history_is_refused(tmp_path, damage):
    run_trial(TINY, tmp_path)
    path = tmp_path / "history.jsonl"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"history\.jsonl.*(does not end at step 24|line 1: damaged).*move"):
        run_trial(TINY, tmp_path)


def stopping_at(step):
    def on_evaluation(row):
        if row["step"] == step:
            raise KeyboardInterrupt

    return on_evaluation


def failing_at(step):
    def on_evaluation(row):
        if row["step"] == step:
            raise ZeroDivisionError

    return on_evaluation


def test_divergence_is_recorded_and_raised(tmp_path):
    config = dataclasses.replace(TINY, lr=1e30)
    with pytest.raises(TrialDiverged, match="nan|inf"):
        run_trial(config, tmp_path)
    status = records.read_status(tmp_path)
    assert status["state"] == "diverged" and "loss" in status["error"]


def test_an_interruption_after_the_end_leaves_a_trial_complete(tmp_path, monkeypatch):
    """A logger may take a minute to close. Interrupted then, a trial must not be trained again."""

    def interrupted(loggers, state):
        if state == "complete":
            raise KeyboardInterrupt

    monkeypatch.setattr(Loggers, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trial(dataclasses.replace(TINY, keep_training_state=False), tmp_path)
    assert records.read_status(tmp_path)["state"] == "complete"


def test_an_error_is_recorded_with_its_traceback(tmp_path):
    def fail(row):
        raise OSError("disk on fire")

    with pytest.raises(OSError):
        run_trial(TINY, tmp_path, on_evaluation=fail)
    status = records.read_status(tmp_path)
    assert status["state"] == "failed" and "disk on fire" in status["error"]


@pytest.mark.parametrize("batch, uratio, at_once", [(1, 1, 32), (8, 2, 40), (64, 7, 268)])
def test_an_evaluation_holds_as_many_images_as_a_step_and_predicts_the_same(batch, uratio, at_once, monkeypatch):
    config = dataclasses.replace(TINY, batch=batch, uratio=uratio)
    trainer = Trainer(config, datasets.load(config.dataset), torch.device("cpu"))
    trainer.train_step()
    seen = []
    forward, predict = trainer.learner.average_forward, trainer.learner.predict
    monkeypatch.setattr(
        trainer.learner, "average_forward", lambda images: (seen.append(len(images)), forward(images))[1]
    )
    trainer.evaluate()
    monkeypatch.undo()
    data = trainer.dataset
    assert sum(seen) == len(data.test_labels) + len(data.valid) and 0.9 * at_once <= max(seen) <= at_once
    with torch.inference_mode():
        whole = predict(to_float(torch.from_numpy(data.test_images).permute(0, 3, 1, 2))).argmax(1).numpy()
    np.testing.assert_array_equal(trainer.confusion, metrics.confusion_matrix(data.test_labels, whole, data.classes))


def test_labels_of_unlabeled_images_never_reach_training():
    dataset = datasets.load(TINY.dataset)
    hidden = np.setdiff1d(np.arange(len(dataset.labels)), np.concatenate([dataset.labeled, dataset.valid]))
    labels = dataset.labels.copy()
    labels[hidden] = (labels[hidden] + 1) % 10
    other = dataclasses.replace(dataset, labels=labels)
    first, second = assert_same_learning(dataset, other)
    assert [row["pseudo_kept"] for row in first] == [row["pseudo_kept"] for row in second]
    assert [row["pseudo_correct"] for row in first] != [row["pseudo_correct"] for row in second]


def test_test_images_never_reach_training():
    dataset = datasets.load(TINY.dataset)
    noise = np.random.default_rng(0).integers(0, 256, dataset.test_images.shape).astype(np.uint8)
    other = dataclasses.replace(dataset, test_images=noise)
    first, second = assert_same_learning(dataset, other)
    assert [row["valid_accuracy"] for row in first] == [row["valid_accuracy"] for row in second]
    assert [row["accuracy"] for row in first] != [row["accuracy"] for row in second]


def assert_same_learning(*data):
    """Train on each, see that all learn the same, and return their histories."""
    trainers = [Trainer(TINY, dataset, torch.device("cpu")) for dataset in data]
    histories = [[row for row in trainer.run() if row] for trainer in trainers]
    first, second = (flat(trainer.state_dict()["learner"]) for trainer in trainers)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    for history in histories:
        assert len(history) == math.ceil(TINY.steps / TINY.report_steps) and kept(history) > 0.1
    return histories
