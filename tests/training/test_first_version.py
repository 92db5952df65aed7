"""A trial that the first version began, before methods had a state of their own, is continued to the same end."""

import json
import shutil
from pathlib import Path

import pytest

from cissl.config import TrialConfig
from cissl.training import records
from cissl.training.trial import run_trial

FIRST_VERSION = Path(__file__).parents[1] / "reference" / "first_version"

pytestmark = pytest.mark.usefixtures("one_thread", "double_precision")


def test_a_checkpoint_of_the_first_version_goes_on(tmp_path):
    trial = json.loads((FIRST_VERSION / "trial.json").read_text())
    config = TrialConfig(**trial["settings"])
    assert config.trial_id == trial["trial_id"]
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(FIRST_VERSION / "checkpoint.pt", tmp_path / "checkpoints" / "step_0000000006.pt")
    rows_made = []
    run_trial(config, tmp_path, device="cpu", on_evaluation=rows_made.append)
    assert [row["step"] for row in rows_made] == list(range(7, 13))  # and not from the beginning

    rows = records.read_history(tmp_path)
    assert [row["loss"] for row in rows] == pytest.approx(trial["losses"], rel=1e-9)
    assert [row["mask_ratio"] for row in rows] == trial["mask_ratio"]
    assert sum(trial["mask_ratio"][6:]) > 0.1  # pseudo-labels took part
    assert rows[-1]["class_prior"] == pytest.approx(trial["class_prior"], rel=1e-9)
