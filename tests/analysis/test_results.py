import json
from pathlib import Path

import numpy as np
import pytest

import cissl.analysis
from cissl.analysis.results import Records, load
from cissl.errors import UserError
from tests.analysis.synthetic_records import write_trial


def test_frames_hold_identity_and_every_evaluation(tmp_path):
    path = write_trial(tmp_path / "sweep", algorithm="cadr", seed=2, cai_beta=0.25, series=[10.0, 20.0, 30.0])
    records = load([tmp_path])
    (row,) = records.trial_frame().to_dict("records")
    assert (row["algorithm"], row["seed"], row["cai_beta"], row["rows"]) == ("cadr", 2, 0.25, 3)
    assert (row["data_name"], row["data_imbalance_ratio"], row["state"]) == ("digits", 20.0, "complete")
    assert row["folder"] == str(path) and len(row["split_hash"]) == 12
    assert row["accuracy"] == 20.0  # the mean over the last ten evaluations, of which there are three
    evaluations = records.evaluation_frame()
    assert evaluations["accuracy"].tolist() == [10.0, 20.0, 30.0]
    assert set(evaluations["trial_id"]) == {row["trial_id"]} and set(evaluations["folder"]) == {row["folder"]}


def test_the_frames_give_no_figure_of_a_trial_that_is_not_complete(tmp_path):
    write_trial(tmp_path / "sweep", series=[10.0, 20.0], state="running")
    assert cissl.analysis.load([tmp_path]).trial_frame()["accuracy"].isna().all()


def test_every_column_of_the_frames_is_documented(tmp_path):
    write_trial(tmp_path / "sweep")
    records = load([tmp_path])
    (trial,) = records.trials
    for frame, documented in (
        (records.trial_frame(), Records.trial_frame.__doc__),
        (records.evaluation_frame(), Records.evaluation_frame.__doc__),
    ):
        assert [name for name in frame if name not in trial.config and f"``{name}``" not in documented] == []


def test_a_folder_reached_by_two_roots_counts_once(tmp_path):
    path = write_trial(tmp_path / "a" / "sweep")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert len(load([tmp_path / "a", path, path.parent, tmp_path / "link"]).trials) == 1


def test_a_uri_is_read_like_a_folder(tmp_path):
    write_trial(tmp_path / "sweep", seed=1)
    broken = write_trial(tmp_path / "sweep", seed=2)
    (broken / "config.json").write_text("{")
    (local, remote) = (load([tmp_path]), load([f"file://{tmp_path}"]))
    assert [t.name for t in remote.trials] == [t.name for t in local.trials]
    assert remote.trials[0].history["accuracy"].tolist() == local.trials[0].history["accuracy"].tolist()
    assert len(remote.problems) == len(local.problems) == 1


def test_vectors_are_read_on_request_with_nan_for_null(tmp_path):
    path = write_trial(tmp_path / "sweep", series=[1.0, 2.0], classes=3)
    rows = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    rows[0]["per_class"] = None
    rows[1]["per_class"] = [1.5, None, 3.5]
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    column = load([path], vectors=["per_class"]).trials[0].history["per_class"]
    np.testing.assert_array_equal(column, [[np.nan] * 3, [1.5, np.nan, 3.5]])


def test_nothing_found_says_where_and_what_was_expected(tmp_path):
    with pytest.raises(UserError, match=r"no trial below .*config\.json"):
        load([tmp_path])
    with pytest.raises(UserError, match="does not exist"):
        load([tmp_path / "nowhere"])


def _cut(path, name, keep):
    text = (path / name).read_bytes()
    (path / name).write_bytes(text[:keep])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: _cut(p, "history.jsonl", -40), r"line 16 is cut short"),
        (lambda p: _cut(p, "status.json", 20), r"status\.json is not readable JSON"),
        (lambda p: (p / "status.json").unlink(), r"status\.json is missing"),
        (lambda p: (p / "history.jsonl").unlink(), r"holds no evaluation"),
        (
            lambda p: (p / "history.jsonl").write_text(
                "\n".join((p / "history.jsonl").read_text().split("\n")[:-3]) + "\n"
            ),
            r"ends at step 112 of 128",
        ),
        (
            lambda p: (p / "history.jsonl").write_text((p / "history.jsonl").read_text() * 2),
            r"steps do not increase",
        ),
    ],
)
def test_damaged_records_are_named_and_the_trial_stays_visible(tmp_path, damage, message):
    path = write_trial(tmp_path / "sweep", seed=1)
    write_trial(tmp_path / "sweep", seed=2)
    damage(path)
    records = load([tmp_path])
    (problem,) = records.problems
    assert problem.path == str(path)
    pytest.raises(ValueError, lambda: (_ for _ in ()).throw(ValueError(str(problem)))).match(message)
    assert sorted(t.state for t in records.trials) == ["complete", "unreadable"]


def test_unreadable_settings_are_named_and_skipped(tmp_path):
    path = write_trial(tmp_path / "sweep", seed=1)
    write_trial(tmp_path / "sweep", seed=2)
    (path / "config.json").write_text('{"trial_id": "x", "name": "x", "config": {"seed": 1}}')
    records = load([tmp_path])
    assert [str(p) for p in records.problems] == [f"{path}: config.json: no 'dataset'"]
    assert len(records.trials) == 1


def test_a_trial_that_has_just_started_is_running(tmp_path):
    path = write_trial(tmp_path / "sweep", series=[], state="running")
    (path / "history.jsonl").unlink()
    records = load([tmp_path])
    assert (records.trials[0].state, records.trials[0].rows, records.problems) == ("running", 0, [])


def test_other_programs_folders_are_passed_over(tmp_path):
    write_trial(tmp_path / "sweep")
    other = tmp_path / "PPO_2026" / "PPO_Cart_0"
    other.mkdir(parents=True)
    for name in ("config.json", "params.json", "result.json", "progress.csv"):
        (other / name).write_text("{}")
    records = load([tmp_path])
    assert (len(records.trials), records.problems) == (1, [])


def test_a_list_of_lists_disturbs_no_column(tmp_path):
    path = write_trial(tmp_path / "sweep", series=[1.0, 2.0], classes=3)
    rows = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    rows[0] = {"of_another_version": [[1, 2], [3]]} | rows[0]
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load([path]).trials[0].history["accuracy"].tolist() == [1.0, 2.0]


def test_terminal_codes_and_other_controls_are_taken_out_of_what_was_recorded(tmp_path):
    error = "Traceback\n\x1b[36m  File\x1b[39m\nRuntimeError: \x1b]0;title\x07said \x07stop\x9b31m \u202eabc"
    write_trial(tmp_path, state="failed", error=error, rows=3)
    (trial,) = load([tmp_path]).trials
    assert trial.status["error"] == "Traceback\n  File\nRuntimeError: said ?stop ?abc"


def test_the_line_that_a_running_trial_is_writing_is_no_damage(tmp_path):
    path = write_trial(tmp_path, state="running", rows=3)
    with open(path / "history.jsonl", "a") as file:
        file.write('{"step": 9')
    records = load([tmp_path])
    assert (records.trials[0].state, records.trials[0].rows, records.problems) == ("running", 3, [])


def changed(path, name, **values):
    record = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps(record | values))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("status.json", "steps", "128"),
        ("status.json", "seconds", "NaN"),
        ("status.json", "error", {"type": "x"}),
        ("status.json", "updated", 7),
        ("provenance.json", "labeled_counts", [1, 2]),
        ("provenance.json", "labeled_counts", "twenty"),
        ("provenance.json", "class_names", [1] * 10),
        ("provenance.json", "classes", 11),
        ("provenance.json", "versions", []),
        ("provenance.json", "workers", "two"),
        ("provenance.json", "unlabeled_labeled", "some"),
        pytest.param("status.json", "seconds", 10**400, id="no float can hold it"),
    ],
)
def test_a_record_of_the_wrong_type_is_named_with_file_and_key(tmp_path, name, key, value):
    path = write_trial(tmp_path)
    write_trial(tmp_path, seed=2)
    if value == "NaN":
        value = float("nan")
    changed(path, name, **{key: value})
    records = load([tmp_path], vectors=("per_class",))
    (problem,) = records.problems
    assert name in str(problem) and str(path) in str(problem)
    assert sorted(trial.state for trial in records.trials) == ["complete", "unreadable"]


def test_a_title_of_the_wrong_type_is_named(tmp_path):
    path = write_trial(tmp_path)
    write_trial(tmp_path, seed=2)
    changed(path, "config.json", title=5)
    records = load([tmp_path])
    (problem,) = records.problems
    assert "'title' is not text" in str(problem) and len(records.trials) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", "fast"),
        ("lr", [0.1]),
        ("batch", None),
        ("seed", True),
        ("algorithm", 3),
        ("dataset", ["a"]),
        ("x", {}),
        ("lr", 10**400),
    ],
)
def test_settings_of_the_wrong_type_are_named(tmp_path, key, value):
    path = write_trial(tmp_path)
    write_trial(tmp_path, seed=2)
    record = json.loads((path / "config.json").read_text())
    record["config"][key] = value
    (path / "config.json").write_text(json.dumps(record))
    records = load([tmp_path])
    if key == "batch":  # null: as if it had not been recorded
        assert records.problems == []
    elif key == "x":
        assert len(records.trials) == 2
    else:
        (problem,) = records.problems
        assert key in str(problem) and len(records.trials) == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"step": "a"}',
        '{"step": 1, "per_class": [[1], 2]}',
        '{"step": 1, "accuracy": {}}',
        "3",
        '["a"]',
        "null",
        "[" * 10**5,
    ],
)
def test_a_history_of_the_wrong_type_is_named(tmp_path, line):
    path = write_trial(tmp_path, state="running", rows=2)
    (path / "history.jsonl").write_text(line + "\n")
    records = load([tmp_path], vectors=("per_class",))
    assert "history.jsonl" in str(records.problems[0]) and records.trials[0].state == "unreadable"


NPY_WITHOUT_END = (
    b"\x93NUMPY\x01\x00\x40\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (3,".ljust(63) + b"\n"
)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"garbage", NPY_WITHOUT_END])
def test_damaged_confusion_matrices_are_named(tmp_path, content):
    path = write_trial(tmp_path)
    (path / "confusion.npy").write_bytes(content)
    with pytest.raises(ValueError, match="confusion.npy"):
        load([tmp_path]).trials[0].confusion()


def test_the_notebook_runs_on_any_sweep_of_its_kind(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.setenv("HOME", str(tmp_path))
    for algorithm in ("cadr", "fixmatch"):
        for ratio in (10, 20):
            for seed in (1, 2):
                write_trial(
                    tmp_path / "ray_results" / "digits_lt",
                    algorithm=algorithm,
                    seed=seed,
                    dataset=f"digits_LT_{ratio}.{seed}@21-100",
                )
    notebook = json.loads((Path(__file__).parents[2] / "docs" / "how_to" / "results.ipynb").read_text())
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["trials"]) == 8 and len(names["difference"]) == 4 and set(names["recalls"]) == {"cadr", "fixmatch"}
