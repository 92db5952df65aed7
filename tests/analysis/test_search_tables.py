import json

import pytest

from cissl.analysis import curves, report
from cissl.analysis.panels import NotOnRecord
from cissl.analysis.results import load
from cissl.analysis.search_figure import BEST, draw_search
from cissl.analysis.search_tables import search_tables, searches
from cissl.errors import UserError
from tests.analysis.synthetic_records import write_candidates, write_sweep, write_trial

SEARCH = {"space": {"lr": {"loguniform": [0.001, 0.1]}}, "metric": "valid_accuracy"}


def write(root, lr, *levels, state="complete"):
    for seed, level in enumerate(levels, start=1):
        dataset = f"digits_LT_20.{seed}@20-100"
        last = state if seed == len(levels) else "complete"
        series = [level] * (12 if last == "complete" else 4)
        write_trial(
            root, dataset=dataset, algorithm="cadr", seed=seed, lr=lr, series=series, state=last, train_kimg=6.0
        )


def lines_of(root):
    (made,) = search_tables(load([root]))
    return {line.label: line.entries for line in made.sections[0]}


def test_candidates_are_ranked_by_validation_alone(tmp_path):
    write(tmp_path, 0.01, 60.0, 62.0)
    write(tmp_path, 0.03, 70.0, 74.0)
    write_sweep(tmp_path, [], SEARCH)
    lines = lines_of(tmp_path)
    assert list(lines) == ["lr = 0.03", "lr = 0.01"]
    validation, accuracy, gmean = lines["lr = 0.03"]
    assert (validation.mean, accuracy.mean, gmean.mean) == (71.0, 72.0, 67.0)  # validation is 1 below in these records
    assert validation.std == pytest.approx(2 * 2**0.5)


def test_unfinished_candidates_come_last_and_divergence_counts_nothing(tmp_path):
    write(tmp_path, 0.01, 50.0, 50.0)
    write(tmp_path, 0.02, 90.0, 90.0, state="stopped")
    write(tmp_path, 0.03, 90.0, 90.0, state="diverged")
    write_sweep(tmp_path, [], SEARCH)
    lines = lines_of(tmp_path)
    assert list(lines) == ["lr = 0.01", "lr = 0.03", "lr = 0.02"]
    assert lines["lr = 0.03"][0].mean == pytest.approx(89.0 / 2)
    assert lines["lr = 0.02"][0].text == "(1/2 complete; stopped)"


def test_a_search_is_known_by_its_candidates_too(tmp_path):
    write(tmp_path, 0.01, 50.0)
    write_sweep(tmp_path, [])
    assert not load([tmp_path]).trials[0].searched
    (tmp_path / "search.json").write_text(json.dumps([{"number": 0, "params": {"lr": 0.01}, "state": "open"}]))
    assert load([tmp_path]).trials[0].searched
    assert list(lines_of(tmp_path)) == ["lr = 0.01"]


def test_no_search_is_said(tmp_path):
    write_trial(tmp_path)
    with pytest.raises(UserError, match="none of these trials"):
        search_tables(load([tmp_path]))


def test_settings_are_shown_with_three_digits(tmp_path):
    write(tmp_path, 0.0123456789, 50.0)
    write_sweep(tmp_path, [], SEARCH)
    (line,) = search_tables(load([tmp_path]))[0].sections[0]
    assert (line.label, line.identity) == ("lr = 0.0123", {"lr": 0.0123456789})


def test_the_figure_has_every_judged_candidate_at_its_settings(tmp_path):
    write(tmp_path, 0.01, 60.0, 62.0)
    write(tmp_path, 0.03, 70.0, 74.0)
    write(tmp_path, 0.05, 90.0, 90.0, state="stopped")
    write_sweep(tmp_path, [], SEARCH)
    (search,) = searches(load([tmp_path]))
    figure = draw_search(search, "")
    assert figure.legends[0].get_title().get_text().startswith("not drawn: 1 with")
    axis, hidden = figure.axes
    points = sorted(container.lines[0].get_xydata()[0].tolist() for container in axis.containers)
    assert points == [[0.01, 60.0], [0.03, 71.0]]
    assert axis.get_xscale() == "log" and axis.get_xlim() == pytest.approx((0.001, 0.1))
    assert axis.get_xlabel() == "lr" and not hidden.get_visible()
    colors = {container.lines[0].get_xydata()[0][0]: container.lines[0].get_color() for container in axis.containers}
    assert colors[0.03] == BEST != colors[0.01]


def test_choices_stand_side_by_side(tmp_path):
    write(tmp_path, 0.03, 60.0)
    write(tmp_path, 0.001, 70.0)
    write_sweep(tmp_path, [], {"space": {"lr": {"choice": ["1e-3", 0.03]}}})  # as YAML reads 1e-3
    (search,) = searches(load([tmp_path]))
    axis = draw_search(search, "").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.001", "0.03"]
    assert sorted(container.lines[0].get_xdata()[0] for container in axis.containers) == [0, 1]


def test_a_search_is_drawn_by_the_command_and_in_the_report(tmp_path):
    study = tmp_path / "study"
    write(study, 0.01, 60.0, 62.0)
    write_sweep(study, [], SEARCH)
    words = [str(study), "--out", str(tmp_path / "figures"), "--format", "svg"]
    assert curves.main(words) == 0
    (drawn,) = (tmp_path / "figures").iterdir()
    assert drawn.name.startswith("search")
    page = tmp_path / "report.html"
    assert report.main([str(study), "--out", str(page)]) == 0
    assert 'data-kind="search"' in page.read_text()


def test_an_unfinished_search_has_no_figure(tmp_path):
    write(tmp_path, 0.01, 60.0, state="running")
    write_sweep(tmp_path, [], SEARCH)
    (search,) = searches(load([tmp_path]))
    with pytest.raises(NotOnRecord, match="candidate"):
        draw_search(search, "")


LR = {"lr": {"choice": [0.01, 0.03]}}


def test_no_trials_are_averaged_that_differ_in_anything_but_the_seed(tmp_path):
    """Here wd was searched before, training was longer, validation images or the method were others."""
    changes = [{"wd": 1e-3}, {"wd": 1e-4}, {"series": [60.0] * 20}, {"dataset": "digits_LT_20.1@20-200"}]
    changes += [
        {"dataset": "digits_LT_20_HELDOUT.1@20-100"},
        {"algorithm": "fixmatch"},
        {"split_hash": "0123456789ab", "folder": "x"},
    ]
    for change in changes:
        write_trial(tmp_path, **({"series": [50.0] * 12, "lr": 0.01, "algorithm": "cadr"} | change))
    for seed in (1, 2):
        write_trial(tmp_path, seed=seed, series=[70.0] * 12, lr=0.01, algorithm="cadr", updated="2026-11-23")
    write_sweep(tmp_path, [], {"space": LR})
    (made,) = search_tables(load([tmp_path]))
    today, earlier = made.sections
    assert [line.entries[0].n for line in today] == [2]
    assert [line.entries[0].n for line in earlier] == [1] * len(changes)
    assert len({line.label for section in made.sections for line in section}) == 1 + len(changes)
    assert any("cannot be compared" in note and "wd" in note for note in made.notes)


def test_a_search_over_the_split_keeps_its_sizes_apart(tmp_path):
    for size in (20, 40):
        write_trial(tmp_path, dataset=f"digits_LT_20.1@{size}-100", series=[50.0 + size] * 12)
    write_sweep(tmp_path, [], {"space": {"labeled_size": {"choice": [20, 40]}}})
    assert [(label, entries[0].n) for label, entries in lines_of(tmp_path).items()] == [
        ("labeled_size = 40", 1),
        ("labeled_size = 20", 1),
    ]


def test_settings_of_the_grid_are_shown_apart_and_judge_together(tmp_path):
    for lr, levels in ((0.01, (90.0, 50.0)), (0.03, (80.0, 70.0))):
        for ratio, level in zip((10, 20), levels, strict=True):
            for seed in (1, 2):
                dataset = f"digits_LT_{ratio}.{seed}@20-100"
                write_trial(tmp_path, dataset=dataset, seed=seed, lr=lr, series=[level + seed] * 12)
    write_sweep(tmp_path, [], {"space": LR}, grid={"imbalance_ratio": [10, 20], "seed": [1, 2]})
    (made,) = search_tables(load([tmp_path]))
    ((best, other),) = made.sections
    assert (best.label, other.label) == ("lr = 0.03", "lr = 0.01")
    judged, *rest = best.entries
    assert (judged.mean, judged.n) == (75.5, 4) and judged.std != judged.std  # no ± over other settings than seeds
    assert [entry.mean for entry in rest] == [80.5, 81.5, 76.5, 70.5, 71.5, 66.5]
    assert {entry.n for entry in rest} == {2}
    assert made.headings[1] == ("γ = 10", "validation accuracy")
    assert len(made.headings) == len(made.columns) == 7


def test_the_metric_of_the_search_ranks(tmp_path):
    write(tmp_path, 0.01, 60.0)
    write_sweep(tmp_path, [], {"space": LR, "metric": "valid_gmean"})
    (search,) = searches(load([tmp_path]))
    assert (search.metric, search.space) == ("valid_gmean", LR)
    (made,) = search_tables(load([tmp_path]))
    assert "best first by valid_gmean" in made.caption
    assert made.headings[0] == ("validation", "geometric mean")


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '[{"params": 3}]', "[" * 10**5])
def test_a_damaged_list_of_candidates_makes_no_results_of_them(tmp_path, text):
    path = write_trial(tmp_path, lr=0.01, series=[50.0] * 12)
    (tmp_path / "search.json").write_text(text)
    records = load([path])
    assert records.trials[0].searched
    assert [problem.path for problem in records.problems] == [str(tmp_path / "search.json")]
    assert [entries[0].n for entries in lines_of(tmp_path).values()] == [1]


@pytest.mark.parametrize(
    "search", ["a", "{space: 1}", "{space: {lr: 0.1}}", "{space: {lr: {uniform: [x]}}}", "{metric: accuracy}"]
)
def test_a_damaged_sweep_file_makes_no_results_of_a_search(tmp_path, search):
    path = write_trial(tmp_path, lr=0.01, series=[50.0] * 12)
    (tmp_path / "sweep.yaml").write_text(f"search: {search}\n")
    records = load([path])
    assert records.trials[0].searched
    assert [problem.path for problem in records.problems] == [str(tmp_path / "sweep.yaml")]
    assert search_tables(records)


def test_what_has_not_started_is_counted(tmp_path):
    trials = [write_trial(tmp_path, seed=seed, lr=0.01, series=[50.0] * 12) for seed in (1, 2)]
    other = write_trial(tmp_path, lr=0.03, series=[40.0] * 12)
    absent = [tmp_path / f"absent-{k}" for k in range(2)]
    write_candidates(
        tmp_path, ({"lr": 0.01}, [*trials, absent[0]]), ({"lr": 0.03}, [other]), ({"lr": 0.02}, absent[1:])
    )
    write_sweep(tmp_path, [], {"space": LR})
    lines = lines_of(tmp_path)
    assert list(lines) == ["lr = 0.03", "lr = 0.01"]  # what is not finished comes last
    assert lines["lr = 0.01"][0].text == "(2/3 complete; not started)"
    (made,) = search_tables(load([tmp_path]))
    assert any("without a trial that has started: 1" in note for note in made.notes)


def test_validation_images_that_are_labeled_too_are_pointed_out(tmp_path):
    write_trial(tmp_path, lr=0.01, facts={"valid_labeled": 12})
    write_sweep(tmp_path, [], SEARCH)
    (made,) = search_tables(load([tmp_path]))
    assert any("12 of 100 validation images are labeled" in note for note in made.notes)


def test_where_nobody_knows_what_was_searched_whatever_differs_was(tmp_path):
    for lr, level in ((0.01, 50.0), (0.03, 70.0)):
        write(tmp_path, lr, level, level)
    (tmp_path / "search.json").write_text("")
    found = {label: entries[0].n for label, entries in lines_of(tmp_path).items()}
    assert list(found.items()) == [("lr = 0.03", 2), ("lr = 0.01", 2)]
    (search,) = searches(load([tmp_path]))
    assert search.space == {"lr": None} and search.earlier == []
