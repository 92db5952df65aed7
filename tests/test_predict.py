"""Trained models: their predictions are the trainer's own, from the trial's folder alone."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import cissl
from cissl import datasets, plugins
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.predict import main
from cissl.training.checkpoint import PREDICTION, WEIGHTS
from cissl.training.metrics import confusion_matrix
from cissl.training.trial import run_trial
from tests.training import short_trial

STEPS = 20 * 16 / 1024  # kimg
SETTINGS = dict(  # enough for predictions of many classes
    dataset="digits.1@100-1",
    filters=16,
    batch=16,
    lr=0.1,
    ema_decay=0.5,
    bn_decay=0.8,
    augment="x.x.ra",
    train_kimg=STEPS,
    report_kimg=STEPS,
)
DATASET = datasets.load(SETTINGS["dataset"])
OWN = '''
import torch
from cissl.algorithms.contract import Base, LABELED, Losses


class Shifted(Base):
    """Counts its steps, and predicts by its count: a state that predictions need."""
    views = {"labeled": LABELED}

    def state(self, facts):
        return {"count": facts.full((facts.classes,), 0.0), "unread": facts.full((5,), 0.0)}

    def losses(self, step):
        step.next["count"] = step.state["count"] + torch.arange(step.facts.classes)
        return Losses(labeled={"labeled": self.supervised(step, step.forward("labeled"))})

    def predict(self, outputs, state):
        return outputs.logits - 0.01 * state["count"]
'''


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Folder of a complete trial of an algorithm, trained once."""
    made = {}

    def trial(algorithm):
        if algorithm not in made:
            made[algorithm] = tmp_path_factory.mktemp("trial")
            config = TrialConfig(**short_trial.settings(algorithm=algorithm, **SETTINGS))
            run_trial(config, made[algorithm], device="cpu")
        return made[algorithm]

    return trial


def confusion(names):
    """Of predicted class names on the test images."""
    numbers = np.array([DATASET.class_names.index(name) for name in names])
    return confusion_matrix(DATASET.test_labels, numbers, DATASET.classes)


@pytest.mark.parametrize("algorithm", ["fixmatch+abc", "cdmad", "boat"])
def test_predictions_on_the_test_images_are_the_trainers_own(trials, algorithm, monkeypatch):
    folder = trials(algorithm)
    monkeypatch.setattr(datasets, "load", None)  # the folder alone is needed
    model = cissl.load(folder, "cpu")
    names, probabilities = model.predict(np.asarray(DATASET.test_images))
    np.testing.assert_array_equal(confusion(names), np.load(folder / "confusion.npy")[-1])
    assert len(set(names)) > 4
    assert probabilities.shape == (len(names),) and 1 / 10 < probabilities.min() and probabilities.max() <= 1
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_a_method_of_ones_own_is_loaded_with_its_code_and_the_state_that_it_predicts_by(tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    plugins.register("ours.py:Shifted", tmp_path)
    config = TrialConfig(**short_trial.settings(algorithm="ours.py:Shifted", **SETTINGS))
    run_trial(config, tmp_path / "trial", device="cpu")
    (tmp_path / "ours.py").unlink()
    monkeypatch.setattr(plugins, "_sources", {})
    model = cissl.load(tmp_path / "trial", "cpu")
    assert list(model.state) == ["count"]
    assert model.state["count"].tolist() == [20.0 * number for number in range(10)]
    names, _ = model.predict(np.asarray(DATASET.test_images))
    np.testing.assert_array_equal(confusion(names), np.load(tmp_path / "trial" / "confusion.npy")[-1])


def test_a_trial_of_a_version_without_what_predictions_need_takes_it_from_the_data(trials, tmp_path):
    for algorithm, fits in (("cdmad", True), ("boat", False)):
        folder = shutil.copytree(trials(algorithm), tmp_path / algorithm)
        (folder / PREDICTION).unlink()
        if fits:
            old, new = cissl.load(folder, "cpu"), cissl.load(trials(algorithm), "cpu")
            images = np.asarray(DATASET.test_images[:20])
            assert torch.equal(old.probabilities(images), new.probabilities(images))
        else:
            with pytest.raises(UserError, match="balanced_prior.*an older version"):
                cissl.load(folder, "cpu")


def test_files_are_labeled_as_the_arrays_that_they_hold(trials, tmp_path, capsys):
    images = DATASET.test_images[:7, :, :, 0]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    out = tmp_path / "predictions.csv"
    assert main([str(trials("cdmad")), str(tmp_path), "--out", str(out), "--device", "cpu"]) == 0
    assert "left out of the top folder: notes.txt (no image)" in capsys.readouterr().err
    names, probabilities = cissl.load(trials("cdmad"), "cpu").predict(images[:, :, :, None])
    rows = list(csv.DictReader(out.open()))
    assert [row["file"] for row in rows] == [str(tmp_path / f"{number}.png") for number in range(7)]
    assert [row["class"] for row in rows] == names
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, atol=1e-6)


def test_images_of_another_size_and_colour_are_brought_to_the_networks(trials):
    model = cissl.load(trials("cdmad"), "cpu")
    colour = Image.new("RGB", (40, 20), "red")
    assert model.preprocess([colour]).shape == (1, model.channels, model.side, model.side)
    assert model.probabilities([]).shape == (0, 10)


def test_mistakes_are_told_and_write_nothing(trials, tmp_path, capsys):
    out, folder = tmp_path / "out.csv", str(trials("cdmad"))
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    for name in ("bad.png", "worse.png"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "running").mkdir()
    config = json.loads((trials("cdmad") / "config.json").read_text())
    (tmp_path / "running" / "config.json").write_text(json.dumps(config))
    for arguments, words in (
        ([folder, str(tmp_path)], ("bad.png", "worse.png")),
        ([folder, str(tmp_path / "none.png")], ("none.png: there is no such file",)),
        ([str(tmp_path), str(tmp_path / "good.png")], ("is not the folder of a trial: config.json is missing",)),
        ([str(tmp_path / "running"), str(tmp_path / "good.png")], ("is not complete", WEIGHTS)),
        ([folder], ("give images",)),
    ):
        assert main([*arguments, "--out", str(out), "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words) and "Traceback" not in error
        assert not out.exists()


@pytest.mark.slow
def test_an_onnx_file_gives_the_networks_probabilities(trials, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path = cissl.load(trials("cdmad"), "cpu"), tmp_path / "model.onnx"
    assert model.export_onnx(path) < 1e-5
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.asarray(DATASET.test_images[:50])
    found = session.run(["probabilities"], {"images": images.transpose(0, 3, 1, 2)})[0]
    np.testing.assert_allclose(found, model.probabilities(images), atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == DATASET.class_names


def test_importing_cissl_stays_light():
    code = "import sys, cissl; sys.exit(bool({'torch', 'numpy', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
