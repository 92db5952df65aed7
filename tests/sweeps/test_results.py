"""The records in `results/` are those of the shipped sweeps, and can be read."""

from pathlib import Path

import pytest

from cissl.analysis.results import load
from cissl.tuning import sweep_file

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "folder", sorted(path for path in (ROOT / "results").iterdir() if path.is_dir()), ids=lambda path: path.name
)
def test_records_are_whole_and_belong_to_the_sweep(folder):
    sweep = sweep_file.load(ROOT / "sweeps" / f"{folder.name}.yaml")
    records = load([folder])
    assert records.trials and not records.problems
    assert {trial.state for trial in records.trials} == {"complete"}
    assert {path.name for path in folder.iterdir()} <= {config.trial_id for config in sweep.trials}
    for trial in records.trials:
        assert trial.confusion().shape[0] == trial.rows
