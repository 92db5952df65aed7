"""What a search proposes and how it judges, on records that the test writes."""

import json
import os

import numpy as np
import pytest

from cissl.training import records
from cissl.tuning import sweep_file
from cissl.tuning.search import Study

FILE = """\
settings: {dataset: digits, labeled_size: 40, valid_size: 50, algorithm: cadr}
grid: {seed: [1, 2]}
search:
  space:
    lr: {loguniform: [1e-3, 0.1]}
    cai_beta: {uniform: [0, 1]}
    adepth: {int: [1, 3]}
    augment: {choice: [d.d.d, d.d.ra]}
  trials: 12
  sampler: tpe
"""


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Hundreds of small files are written here, and none has to survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def sweep(tmp_path):
    def sweep(*overrides):
        path = tmp_path / "study.yaml"
        path.write_text(FILE)
        return sweep_file.load(path, overrides)

    return sweep


def finish(folder, config, valid, *, test=50.0, state="complete", evaluations=12):
    """The records that a trial leaves; the first evaluations are to be ignored."""
    rows = [
        {
            "step": 10 * (i + 1),
            "valid_accuracy": 0.0 if i < evaluations - 10 else valid,
            "valid_gmean": 1.0,
            "accuracy": test,
            "gmean": test,
        }
        for i in range(evaluations)
    ]
    trial = folder / config.trial_id
    records.write_history(trial, rows, np.zeros((evaluations, 2, 2)))
    records.write_status(trial, state, step=rows[-1]["step"], steps=config.steps, seconds=1.0)


def run(study, folder, value=lambda config: 50 + 10 * config.cai_beta, test=50.0):
    """Run a study to its end, one trial at a time."""
    while (config := study.next_trial()) is not None:
        finish(folder, config, value(config), test=test)
        study.ended(config.trial_id)
    return [candidate.params for candidate in study.candidates]


def test_proposals_lie_in_the_space_and_are_judged_by_the_mean_over_the_grid(sweep, tmp_path):
    study = Study(sweep(), tmp_path)
    proposed = run(study, tmp_path, lambda config: 10.0 * config.seed)
    assert study.finished and len(proposed) == 12 and len(study.trials) == 24
    for params in proposed:
        assert 1e-3 <= params["lr"] <= 0.1 and 0 <= params["cai_beta"] <= 1
        assert params["adepth"] in (1, 2, 3) and params["augment"] in ("d.d.d", "d.d.ra")
    assert {candidate.value for candidate in study.candidates} == {15.0}


def test_the_same_search_proposes_the_same(sweep, tmp_path):
    first, second, other = (
        run(Study(sweep(*words), tmp_path / name), tmp_path / name)
        for name, words in (("a", []), ("b", []), ("c", ["search.seed=1"]))
    )
    assert first == second != other
    assert len({params["lr"] for params in first}) == 12


@pytest.mark.parametrize("stop_after", [1, 5, 16])
def test_a_search_that_is_run_again_goes_on_as_if_undisturbed(sweep, tmp_path, stop_after):
    calm = run(Study(sweep(), tmp_path / "calm"), tmp_path / "calm")
    study = Study(sweep(), tmp_path / "torn")
    for _ in range(stop_after):
        config = study.next_trial()
        finish(tmp_path / "torn", config, 50 + 10 * config.cai_beta)
        study.ended(config.trial_id)
    study.next_trial()  # its process is killed
    again = Study(sweep(), tmp_path / "torn")
    assert run(again, tmp_path / "torn") == calm
    assert Study(sweep(), tmp_path / "torn").finished


def test_a_larger_search_keeps_what_it_has(sweep, tmp_path):
    small = run(Study(sweep("search.trials=3"), tmp_path), tmp_path)
    study = Study(sweep("search.trials=5"), tmp_path)
    assert [candidate.state for candidate in study.candidates] == ["complete"] * 3
    assert run(study, tmp_path)[:3] == small and len(study.candidates) == 5


def test_candidates_outside_a_changed_space_are_left_aside(sweep, tmp_path):
    run(Study(sweep("search.trials=4"), tmp_path), tmp_path)
    study = Study(sweep("search.trials=4", "search.space.lr={loguniform: [1, 2]}"), tmp_path)
    assert (study.forgotten, study.candidates) == (4, [])


def test_test_data_do_not_reach_the_search(sweep, tmp_path):
    """Whatever the test figures are, the same candidates are proposed and the same one wins."""
    outcomes = []
    for name, test in (("low", 0.0), ("high", 100.0)):
        study = Study(sweep(), tmp_path / name)
        outcomes.append((run(study, tmp_path / name, test=test), study.best.params))
    assert outcomes[0] == outcomes[1]


def test_tpe_learns_from_what_it_is_told(sweep, tmp_path):
    study = Study(sweep("search.trials=40", "seed=[1]"), tmp_path)
    betas = [params["cai_beta"] for params in run(study, tmp_path)]
    assert np.mean(betas[-15:]) > 0.75 > np.mean(betas[:10])
    assert study.best.params["cai_beta"] == max(betas)


def test_diverged_trials_count_as_the_worst_and_failed_ones_do_not_count(sweep, tmp_path):
    study = Study(sweep("search.trials=2"), tmp_path)
    for state in ("diverged", "complete", "failed", "complete"):
        config = study.next_trial()
        finish(tmp_path, config, 60.0, state=state)
        study.ended(config.trial_id)
    assert [(candidate.state, candidate.value) for candidate in study.candidates] == [
        ("complete", 30.0),
        ("failed", None),
    ]
    again = Study(sweep("search.trials=2"), tmp_path)
    assert not again.finished and again.next_trial() == config_of(study, 1, 0)  # failed: tried again


def config_of(study, candidate, trial):
    return study.candidates[candidate].trials[trial]


def test_a_candidate_with_a_trial_that_was_stopped_early_is_given_up_for_good(sweep, tmp_path):
    study = Study(sweep("search.trials=2"), tmp_path)
    config = study.next_trial()
    finish(tmp_path, config, 20.0, state="stopped")
    study.ended(config.trial_id, early=True)
    assert study.next_trial() == config_of(study, 1, 0)  # not the first candidate's other seed
    again = Study(sweep("search.trials=2"), tmp_path)
    assert [candidate.state for candidate in again.candidates] == ["pruned", "open"]
    assert again.next_trial() == config_of(study, 1, 0)


def test_candidates_that_are_the_same_trials_run_once(sweep, tmp_path):
    study = Study(
        sweep("search.space={augment: {choice: [d.d.d, d.d.ra]}}", "search.trials=8", "search.sampler=random"), tmp_path
    )
    run(study, tmp_path)
    assert [candidate.state for candidate in study.candidates] == ["complete"] * 8
    assert len(study.trials) == 4


def test_the_file_is_plain_json(sweep, tmp_path):
    study = Study(sweep("search.trials=1"), tmp_path)
    run(study, tmp_path)
    (row,) = json.loads((tmp_path / "search.json").read_text())
    assert row == {
        "number": 0,
        "params": study.best.params,
        "state": "complete",
        "value": study.best.value,
        "stopped": None,
    }
