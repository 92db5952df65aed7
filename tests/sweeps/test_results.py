"""The records in `results/` are those of the shipped sweeps, and can be read."""

from pathlib import Path

import pytest

from cissl.analysis.results import load
from cissl.tuning import sweep_file

ROOT = Path(__file__).parents[2]
SET = {"cifar10_small_lt": ["dataset=cifar10_jpeg75"]}  # how the trials differ from the sweep as it is shipped


@pytest.mark.parametrize(
    "folder", sorted(path for path in (ROOT / "results").iterdir() if path.is_dir()), ids=lambda path: path.name
)
def test_records_are_whole_and_belong_to_the_sweep(folder):
    sweep = sweep_file.load(ROOT / "sweeps" / f"{folder.name}.yaml", SET.get(folder.name, []))
    records = load([folder])
    assert records.trials and not records.problems
    assert {trial.state for trial in records.trials} == {"complete"}
    assert {path.name for path in folder.iterdir()} <= {config.trial_id for config in sweep.trials}
    for trial in records.trials:
        assert trial.confusion().shape[0] == trial.rows
