"""What a search proposes and how it judges, on records that the test writes."""

import json
import os
import re

import numpy as np
import pytest

from cissl.analysis.record_store import LocalStore
from cissl.analysis.sweep_folder import read_sweep
from cissl.errors import UserError
from cissl.training import records
from cissl.tuning import sweep_file
from cissl.tuning.remote import SweepFolder
from cissl.tuning.search import Study
from cissl.tuning.state import describe_search
from cissl.tuning.sweep import keep_provenance

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


def finish(folder, config, valid, *, test=50.0, state="complete", evaluations=12, steps=120):
    """The records that a trial leaves; the first evaluations are to be ignored."""
    rows = [
        {
            "step": steps * (i + 1) // evaluations,
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


def test_candidates_outside_a_changed_space_are_laid_aside_and_come_back(sweep, tmp_path):
    wide = ["search.trials=4", "search.space={lr: {uniform: [0.01, 0.1]}, adepth: {choice: [1, 2]}}", "seed=[1]"]
    first = Study(sweep(*wide), tmp_path)
    run(first, tmp_path, lambda config: 100 * config.lr)
    rates = sorted(candidate.params["lr"] for candidate in first.candidates)
    narrow = [f"search.space={{lr: {{uniform: [{rates[2]}, 0.1]}}, adepth: {{choice: [1, 2]}}}}"]
    second = Study(sweep(wide[0], *narrow, wide[2]), tmp_path)
    assert sorted(candidate.params["lr"] for candidate in second.candidates) == rates[2:]
    assert "2 candidates of earlier runs lie outside the space; search.json keeps them" in describe_search(second)
    run(second, tmp_path, lambda config: 100 * config.lr)
    assert len(second.candidates) == 4
    other = Study(sweep(wide[0], "search.space={wd: {uniform: [0, 1]}}", wide[2]), tmp_path)
    assert (len(other.aside), other.candidates) == (6, [])
    other.next_trial()

    back = Study(sweep(*wide), tmp_path)
    assert {c.number: c.params for c in first.candidates}.items() <= {
        c.number: c.params for c in back.candidates
    }.items()
    assert len(back.candidates) == 6 and len(back.aside) == 1
    numbers = [row["number"] for row in json.loads((tmp_path / "search.json").read_text())]
    assert numbers == list(range(7))
    assert back.best.params["lr"] == max(candidate.params["lr"] for candidate in back.candidates)


def test_a_candidate_is_found_again_however_its_value_was_spelled(sweep, tmp_path):
    space = "search.space={lr: {choice: [0.01, 0.1]}, batch: {choice: [8.0, 16]}}"
    row = {"number": 0, "params": {"lr": "1e-2", "batch": 8}, "state": "complete", "value": 1.0, "stopped": None}
    (tmp_path / "search.json").write_text(json.dumps([row]))
    study = Study(sweep(space), tmp_path)
    assert study.aside == [] and study.candidates[0].params == {"lr": 0.01, "batch": 8}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[{",
        b"null",
        b"{}",
        b"[1]",
        b'[{"params": {}}]',
        b'[{"number": 0, "params": [], "state": "open"}]',
        b"\xff",
        b'[{"number": 0, "params": {}, "state": "open", "value": NaN}]',
    ],
)
def test_a_damaged_file_of_candidates_is_refused_and_kept(sweep, tmp_path, content):
    """To take it for an empty one would lose the candidates with the next that is proposed."""
    (tmp_path / "search.json").write_bytes(content)
    with pytest.raises(UserError, match=r"search.json: the candidates of this search cannot be read: .*move it away"):
        Study(sweep(), tmp_path)
    assert (tmp_path / "search.json").read_bytes() == content


@pytest.mark.parametrize(
    "row", ["", "{}", "{", "[" * 100_000, '{"step": 1}', '{"step": 1, "valid_accuracy": "x"}'], ids=len
)
def test_a_damaged_record_of_a_trial_is_named_and_costs_its_candidate_alone(sweep, tmp_path, row):
    whole = Study(sweep("search.trials=3", "seed=[1]"), tmp_path)
    run(whole, tmp_path)
    path = tmp_path / whole.best.trials[0].trial_id / "history.jsonl"
    text = path.read_text()
    path.write_text(row and row + "\n")
    study = Study(sweep("search.trials=3", "seed=[1]"), tmp_path)
    states = [candidate.state for candidate in study.candidates]
    assert sorted(states) == ["complete", "complete", "failed"] and study.candidates[whole.best.number].value is None
    assert study.best.value < whole.best.value and study.finished
    assert re.search(rf"note: a candidate has no figure: {path.parent}", describe_search(study))
    path.write_text(text)
    study = Study(sweep("search.trials=3", "seed=[1]"), tmp_path)
    assert study.best.value == whole.best.value and "note:" not in describe_search(study)


def test_a_candidate_that_the_resources_no_longer_allow_is_laid_aside(sweep, tmp_path):
    run(Study(sweep("search.trials=3", "search.space={batch: {choice: [9, 16]}}"), tmp_path), tmp_path, lambda c: 1.0)
    study = Study(sweep("search.trials=3", "search.space={batch: {int: [8, 16, 2]}}", "resources.workers=2"), tmp_path)
    assert {row["params"]["batch"] for row in study.aside} == {9}
    assert {candidate.params["batch"] for candidate in study.candidates} <= {16}


def asha(sweep, tmp_path, space, grace, *words):
    values = f"search.asha={{grace_kimg: {grace}, reduction_factor: 2}}"
    words = [f"search.space={space}", "search.sampler=random", values, "search.trials=8", *words]
    if "train_kimg" not in space:
        words.append("train_kimg=0.5")
    return Study(sweep(*words), tmp_path)


def fractions_of(study, config, *fractions, value):
    """Report evaluations at these fractions of the training; whether each ends the trial."""
    rows = [{"step": round(fraction * config.steps), "valid_accuracy": value} for fraction in fractions]
    return [study.evaluated(config.trial_id, row) for row in rows]


@pytest.mark.parametrize("batches", ["[32, 4]", "[4, 32]"])
def test_trials_are_compared_at_the_same_fraction_of_their_own_training(sweep, tmp_path, batches):
    study = asha(sweep, tmp_path, f"{{batch: {{choice: {batches}}}, lr: {{uniform: [0.01, 0.1]}}}}", 0.25, "seed=[1]")
    trials = [study.next_trial() for _ in range(8)]
    assert {config.steps for config in trials} == {16, 128}
    for number, config in enumerate(trials):  # each is better than those before it, at the same fraction
        assert fractions_of(study, config, 0.25, 0.5, 0.75, 1.0, value=50.0 + number) == [False] * 4
    assert fractions_of(study, trials[0], 0.6, value=0.0) == [False]  # judged at this rung already


def test_a_trial_that_falls_behind_at_a_rung_is_stopped_there_and_not_before(sweep, tmp_path):
    study = asha(sweep, tmp_path, "{lr: {uniform: [0.01, 0.1]}}", 0.125, "seed=[1]")
    assert study.sweep.rungs == [0.25, 0.5]
    good, bad, late, none = (study.next_trial() for _ in range(4))
    assert fractions_of(study, good, 0.125, 0.25, 0.5, 1.0, value=60.0) == [False] * 4
    assert fractions_of(study, bad, 0.125, value=0.0) == [False]
    assert fractions_of(study, bad, 0.375, value=0.0) == [True]
    assert fractions_of(study, late, 1.0, value=0.0) == [False]  # complete: nothing is left to be saved
    assert fractions_of(study, none, 0.25, value=None) == [False]


def test_no_trial_is_stopped_before_the_grace_even_where_lengths_differ(sweep, tmp_path):
    study = asha(sweep, tmp_path, "{train_kimg: {choice: [0.5, 4]}}", 0.5)
    assert study.sweep.rungs == []
    study = asha(sweep, tmp_path, "{train_kimg: {choice: [1, 4]}}", 0.5)
    assert study.sweep.rungs == [0.5]  # half of the shortest, and two kimg of the longest


def test_trials_of_other_points_of_the_grid_are_no_rivals(sweep, tmp_path):
    """A harder split, or a weaker method, would lose every time, and no candidate would ever be complete."""
    space, grid = "{lr: {uniform: [0.01, 0.1]}}", ["seed=[1, 2]", "imbalance_ratio=[null, 10]", "labeled_size=[41]"]
    study = asha(sweep, tmp_path, space, 0.125, *grid)
    easy, hard, other_seed, _ = (study.next_trial() for _ in range(4))
    assert len({config.dataset for config in (easy, hard, other_seed)}) == 3
    assert fractions_of(study, easy, 0.25, value=90.0) == [False]
    assert fractions_of(study, hard, 0.25, value=10.0) == [False]
    assert fractions_of(study, other_seed, 0.25, value=5.0) == [False]
    second = [study.next_trial() for _ in range(4)]
    assert fractions_of(study, second[0], 0.25, value=80.0) == [True]
    assert fractions_of(study, second[1], 0.25, value=20.0) == [False]


def test_what_trials_of_earlier_runs_reached_still_counts(sweep, tmp_path):
    study = asha(sweep, tmp_path, "{lr: {uniform: [0.01, 0.1]}}", 0.125, "seed=[1]")
    first = study.next_trial()
    finish(tmp_path, first, 60.0, evaluations=12, steps=first.steps)
    study.ended(first.trial_id)
    again = asha(sweep, tmp_path, "{lr: {uniform: [0.01, 0.1]}}", 0.125, "seed=[1]")
    config = again.next_trial()
    assert fractions_of(again, config, 0.5, value=50.0) == [True]


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
        "trials": [config.trial_id for config in study.trials],
    }


def test_what_the_tables_need_is_kept(sweep, tmp_path):
    """The search as the command line has changed it, and which trials are a candidate's."""
    made = sweep("search.metric=valid_gmean", "search.space={lr: {choice: [0.01, 0.1]}, adepth: {int: [1, 3]}}")
    study = Study(made, tmp_path)
    trials = [study.next_trial() for _ in range(2)]
    place = SweepFolder(str(tmp_path.parent), tmp_path.name)
    keep_provenance(made, study, place, ["study.yaml"])
    kept, problems = read_sweep(LocalStore(str(tmp_path)), str(tmp_path))
    assert problems == [] and kept.axes == ("seed",)
    assert kept.search.metric == "valid_gmean"
    assert kept.search.space == {"lr": {"choice": [0.01, 0.1]}, "adepth": {"int": [1, 3]}}
    assert kept.search.candidates == (tuple(config.trial_id for config in trials),)
