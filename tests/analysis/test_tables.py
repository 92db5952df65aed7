import csv
import io
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from cissl.algorithms.cards import find
from cissl.analysis import formats, latex, published_figures, report
from cissl.analysis.cells import build
from cissl.analysis.results import load
from cissl.analysis.selection import SELECTIONS
from cissl.analysis.split_parts import split_parts
from cissl.analysis.tables import _marks, joined, main, table, write
from cissl.errors import UserError
from tests.analysis.synthetic_records import write_sweep, write_trial

TABLES = Path(__file__).resolve().parents[2] / "analysis" / "tables.py"


def run(*arguments, cwd="/"):
    return subprocess.run([sys.executable, str(TABLES), *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def sweep(root, algorithms=("supervised", "fixmatch", "cadr"), ratios=(10, 20), seeds=(1, 2, 3), **settings):
    for algorithm in algorithms:
        for ratio in ratios:
            for seed in seeds:
                write_trial(
                    root,
                    dataset=f"digits_LT_{ratio}.{seed}@40-100",
                    algorithm=algorithm,
                    seed=seed,
                    **settings,
                )
    return root


def lines_of(made):
    return {line.label: line.entries for section in made.sections for line in section}


def test_cell_is_mean_and_sample_std_over_seeds_of_the_last_ten(tmp_path):
    series = [[k + offset for k in range(16)] for offset in (0.0, 1.0, 5.0)]
    for seed, values in enumerate(series, start=1):
        write_trial(tmp_path, dataset=f"digits_LT_20.{seed}@40-100", seed=seed, series=values)
    (entry,) = lines_of(table(load([tmp_path]), "accuracy"))["FixMatch"]
    last_ten = [statistics.fmean(values[-10:]) for values in series]
    assert entry.mean == pytest.approx(statistics.fmean(last_ten))
    assert entry.std == pytest.approx(statistics.stdev(last_ten))
    assert (entry.n, entry.number) == (3, "12.50 ± 2.65")


@pytest.mark.parametrize("generations, told", [(1, False), (2, True), (6, True)])
def test_a_mean_over_more_than_the_last_generation_is_told(tmp_path, generations, told):
    write_trial(tmp_path, algorithm="fixmatch+crest", **{"crest.num_generation": generations})  # 16 evaluations
    made = table(load([tmp_path]), "accuracy")
    assert any("1 trial (+ CReST) are of more than the last stage" in note for note in made.notes) == told


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("last10", 14.5), ("last20", 10.5), ("validation-best", 3.0), ("test-oracle", 19.0)],
)
def test_selection_rules(tmp_path, rule, expected):
    path = write_trial(tmp_path, series=[float(k) for k in range(20)])
    history = (path / "history.jsonl").read_text()
    (path / "history.jsonl").write_text(history.replace('"valid_accuracy": 2.0', '"valid_accuracy": 99.0'))
    made = table(load([tmp_path]), "accuracy", rule)
    expected = 9.5 if rule == "last20" else expected
    assert lines_of(made)["FixMatch"][0].mean == pytest.approx(expected)
    assert ("ORACLE" in made.caption) == (rule == "test-oracle")


def test_rows_columns_order_and_best(tmp_path):
    made = table(load([sweep(tmp_path, ("cadr", "supervised", "fixmatch"), (100, 20))]), "accuracy")
    assert list(lines_of(made)) == ["Supervised", "FixMatch", "+ CADR"]
    assert made.headings == [("Digits", "γ = 20"), ("Digits", "γ = 100")]
    assert [label for label, entries in lines_of(made).items() if all(e.best for e in entries)] == ["+ CADR"]
    assert not any(entry.best for entry in lines_of(made)["FixMatch"])
    assert "n = 3" in made.caption and "last 10 evaluations" in made.caption and "sample standard" in made.caption


def test_unfinished_trials_are_marked_named_and_never_counted(tmp_path):
    sweep(tmp_path, seeds=(1, 2))
    write_trial(
        tmp_path,
        dataset="digits_LT_20.3@40-100",
        seed=3,
        state="failed",
        error="Traceback\nRuntimeError: boom",
    )
    write_trial(tmp_path, dataset="digits_LT_50.1@40-100", seed=1, state="stopped", rows=3)
    made = table(load([tmp_path]), "accuracy")
    entries = dict(zip((heading for _, heading in made.headings), lines_of(made)["FixMatch"], strict=True))
    assert (entries["γ = 20"].n, entries["γ = 20"].text) == (2, "(2/3)")
    assert (entries["γ = 50"].number, entries["γ = 50"].text) == ("–", "(0/1)")
    notes = dict(made.footnotes)
    assert notes[entries["γ = 20"].marks].endswith("failed at step 120/128 (RuntimeError: boom)")
    assert "stopped at step 24/128" in notes[entries["γ = 50"].marks]


def test_an_incomplete_cell_does_not_win(tmp_path):
    sweep(tmp_path, ratios=(20,), seeds=(1, 2))
    write_trial(tmp_path, dataset="digits_LT_20.3@40-100", algorithm="cadr", seed=3, state="diverged")
    lines = lines_of(table(load([tmp_path]), "accuracy"))
    assert not lines["+ CADR"][0].best  # and its failure crowns no other
    assert not lines["FixMatch"][0].best


def test_a_different_n_is_said(tmp_path):
    sweep(tmp_path, ("supervised", "cadr"), (20,), (1, 2, 3))
    sweep(tmp_path, ("fixmatch",), (20,), (1, 2))
    assert lines_of(table(load([tmp_path]), "accuracy"))["FixMatch"][0].text == "(n = 2)"


def test_a_varying_setting_becomes_part_of_the_row(tmp_path):
    sweep(tmp_path, ("fixmatch", "cadr"), (20,))
    sweep(tmp_path, ("cadr",), (20,), cai_beta=0.25)
    lines = lines_of(table(load([tmp_path]), "accuracy"))
    assert list(lines) == ["FixMatch", "+ CADR, β = 0.25", "+ CADR, β = 0.5"]
    assert all(entries[0].n == 3 for entries in lines.values())


def test_settings_that_only_differ_between_data_sets_stay_in_the_notes(tmp_path):
    write_trial(tmp_path, dataset="cifar10_LT_20.1@20-1", filters=32)
    write_trial(tmp_path, dataset="cifar100_LT_50.1@50-1", filters=128)
    made = table(load([tmp_path]), "accuracy")
    assert list(lines_of(made)) == ["FixMatch"]
    assert any("filters" in note and "128 (FixMatch on CIFAR-100)" in note for note in made.notes)


def test_bookkeeping_settings_do_not_split_cells(tmp_path):
    write_trial(tmp_path, dataset="digits_LT_20.1@40-100", keep_ckpt=2)
    write_trial(tmp_path, dataset="digits_LT_20.2@40-100", keep_ckpt=50, save_kimg=1.0)
    assert lines_of(table(load([tmp_path]), "accuracy"))["FixMatch"][0].n == 2


def test_different_splits_of_one_name_are_not_averaged(tmp_path):
    for seed in (1, 2, 3):
        write_trial(tmp_path, dataset="digits_LT_20.1@40-100", seed=seed, split_hash="a" * 12)
    write_trial(tmp_path, dataset="digits_LT_20.1@40-100", seed=4, split_hash="b" * 12)
    made = table(load([tmp_path]), "accuracy")
    assert {label: entries[0].n for label, entries in lines_of(made).items()} == {
        "FixMatch, split = none": 3,
        "FixMatch, split = bbbbbbbbbbbb": 1,
    }
    assert any("split in 2 different ways" in note for note in made.notes)


def test_different_steps_are_not_averaged(tmp_path):
    write_trial(tmp_path, dataset="digits_LT_20.1@40-100", seed=1)
    write_trial(tmp_path, dataset="digits_LT_20.2@40-100", seed=2, train_kimg=16.0)
    lines = lines_of(table(load([tmp_path]), "accuracy"))
    assert list(lines) == ["FixMatch, train_kimg = 8", "FixMatch, train_kimg = 16"]


def test_duplicates_count_once_and_are_reported(tmp_path):
    write_trial(tmp_path / "here", seed=1, state="running", rows=5)
    complete = write_trial(tmp_path / "there", seed=1)
    made = table(load([tmp_path]), "accuracy")
    assert lines_of(made)["FixMatch"][0].n == 1
    assert any("recorded 2 times" in note and f"used {complete}" in note for note in made.notes)


def test_search_trials_are_left_out_with_a_word(tmp_path):
    write_trial(tmp_path / "grid", seed=1)
    path = write_trial(tmp_path / "search", seed=1, lr=0.01)
    write_sweep(tmp_path / "search", ["corner-1234"], {"metric": "valid_accuracy"})
    assert load([path]).trials[0].searched  # also where its folder alone is given
    made = table(load([tmp_path]), "accuracy")
    assert list(lines_of(made)) == ["FixMatch"]
    assert any("1 trials of a hyper-parameter search (search)" in note for note in made.notes)


def test_an_unreadable_trial_keeps_its_place(tmp_path):
    sweep(tmp_path, ("fixmatch",), (20,))
    victim = next(tmp_path.glob("*-s2-*"))
    (victim / "history.jsonl").write_text("{")
    (entry,) = lines_of(table(load([tmp_path]), "accuracy"))["FixMatch"]
    assert (entry.n, entry.text) == (2, "(2/3)")
    done = run(tmp_path)
    assert done.returncode == 1 and str(victim) in done.stderr and "(2/3)" in done.stdout


def test_missing_figures_are_marked(tmp_path):
    path = write_trial(tmp_path, series=[1.0] * 12)
    text = (path / "history.jsonl").read_text()
    (path / "history.jsonl").write_text(re.sub(r'"gmean": [-\d.]+', '"gmean": null', text))
    made = table(load([tmp_path]), "gmean")
    assert lines_of(made)["FixMatch"][0].text == "(0/1)" and "no gmean on record" in made.footnotes[0][1]


def test_rows_and_columns_can_be_chosen_and_never_mix(tmp_path):
    sweep(tmp_path, ("fixmatch", "cadr"), (10, 20))
    sweep(tmp_path, ("cadr",), (10, 20), cai_beta=0.25)
    made = table(load([tmp_path]), "accuracy", rows=["imbalance_ratio"], columns=["method", "cai_beta"])
    assert [setting for _, setting in made.headings] == [
        "FixMatch, β = 0.5",
        "+ CADR, β = 0.25",
        "+ CADR, β = 0.5",
    ]
    assert list(lines_of(made)) == ["γ = 10", "γ = 20"]
    mixed = table(load([tmp_path]), "accuracy", rows=["cai_beta"])  # the method has to be told apart all the same
    assert len(lines_of(mixed)) == 3
    with pytest.raises(UserError, match="cannot be 'colour'"):
        build(load([tmp_path]), "accuracy", SELECTIONS["last10"], rows=["colour"])


def test_planned_trials_that_have_not_started_are_named(tmp_path):
    path = write_trial(tmp_path, seed=1)
    write_sweep(tmp_path, [path.name, "cadr-digits_LT_20-s2-01234567"])
    made = table(load([tmp_path]), "accuracy")
    assert "1 planned trials have not started: cadr-digits_LT_20-s2." in made.notes
    assert load([path]).waiting == []  # a single trial was asked for


def test_a_planned_trial_counts_in_the_cell_of_its_equals(tmp_path):
    paths = [write_trial(tmp_path, dataset="digits_LT_20.1@20-1", algorithm="fixmatch", seed=1)]
    name = paths[0].name.rpartition("-")[0]
    other = name.replace("-s1", "-s2")
    assert other != name
    write_sweep(tmp_path, [paths[0].name, f"{other}-01234567"])
    made = table(load([tmp_path]), "accuracy")
    assert lines_of(made)["FixMatch"][0].text == "(1/2)"
    assert made.footnotes[0][1] == f"{other}: not started"


def test_of_many_trials_that_have_not_started_the_first_are_named(tmp_path):
    path = write_trial(tmp_path, dataset="digits_LT_20.1@20-1", algorithm="fixmatch", seed=1)
    write_sweep(tmp_path, [path.name, *(f"fixmatch-digits_LT_20-s{seed}-01234567" for seed in range(2, 12))])
    (footnote,) = table(load([tmp_path]), "accuracy").footnotes
    names = ", ".join(f"fixmatch-digits_LT_20-s{seed}" for seed in (10, 11, 2))
    assert footnote[1] == f"{names} and 7 more: not started"


def test_smoke_runs_are_shown_only_when_named(tmp_path):
    write_trial(tmp_path / "study", seed=1)
    write_trial(tmp_path / "study-smoke", seed=1, lr=0.5)
    assert len(load([tmp_path]).trials) == 1
    assert len(load([tmp_path / "study-smoke"]).trials) == 1


def test_headings_of_other_protocols(tmp_path):
    for dataset in (
        "cifar10_N1_10.1@40-1",
        "cifar10_RAND.1@250-1",
        "cifar10_LT_100_ULT_100.1@500-1",
        "cifar10_LT_100_UREV_50_DISJOINT.1@1500+3000-1",
        "cifar10_LT_100_UHT_100_DISJOINT.1@500+4000-1",
    ):
        write_trial(tmp_path, dataset=dataset)
    made = table(load([tmp_path]), "accuracy", published=True)
    assert sorted(made.headings) == [
        ("CIFAR-10", "N₁ = 10, 40 labels"),
        ("CIFAR-10", "random shares, 250 labels"),
        ("CIFAR-10", "γ = 100, γᵤ = 100"),
        ("CIFAR-10", "γ = 100, γᵤ = 100 head-tail, M₁ = 4000, disjoint"),
        ("CIFAR-10", "γ = 100, γᵤ = 50 reversed, M₁ = 3000, disjoint"),
    ]
    (note,) = [note for note in made.notes if "Duan et al. 2023, Towards" in note]
    published = lines_of(made)[f"FixMatch + PRG {note[:3]}"]
    assert [e.number for e in published] == ["91.87 ± 1.05" if "N₁ = 10" in h else "–" for _, h in made.headings]


def test_headings_of_balanced_and_coupled_sizes(tmp_path):
    for dataset in ("cifar10.1@40-1", "cifar10.1@250-1", "cifar100_LT_50.1@50-1", "cifar100_LT_50.1@100-1"):
        write_trial(tmp_path, dataset=dataset)
    assert table(load([tmp_path]), "accuracy").headings == [
        ("CIFAR-10", "40 labels"),
        ("CIFAR-10", "250 labels"),
        ("CIFAR-100", "γ = 50, N₁ = 50"),
        ("CIFAR-100", "γ = 50, N₁ = 100"),
    ]


def test_published_figures_stand_beside_ours_with_the_difference(tmp_path):
    write_trial(tmp_path, dataset="cifar10_LT_20.1@20-1", algorithm="cadr", series=[80.0] * 12)
    made = table(load([tmp_path]), "accuracy", published=True)
    entry = lines_of(made)["FixMatch + CADR [1]"][0]
    assert entry.mean == 79.63 and entry.difference == pytest.approx(0.37)
    assert lines_of(made)["FixMatch + PRG [2]"][0].number == "94.04 ± 0.18"
    assert any("arXiv 2206.14923" in note for note in made.notes)


def test_published_figures_of_other_unlabeled_images_stand_beside_ours(tmp_path):
    for algorithm in ("simpro", "fixmatch"):
        write_trial(
            tmp_path, dataset="cifar10_LT_150_UHT_150_DISJOINT.1@500+4000-1", algorithm=algorithm, series=[80.0] * 12
        )
    made = table(load([tmp_path]), "accuracy", published=True)
    (entry,) = lines_of(made)["SimPro [1]"]
    assert (entry.mean, entry.std, entry.difference) == (81.0, 0.27, pytest.approx(-1.0))
    (other,) = lines_of(made)["ACR without anchors [2]"]
    assert other.mean == 77.6 and math.isnan(other.difference)
    assert len(made.sections[1]) == 2  # the figures of other unlabeled images are for other columns


@pytest.mark.parametrize(
    ("select", "report_kimg", "said"),
    [
        ("last10", 64, "Ours have the same rule and budget."),
        ("last20", 64, "Not comparable: ours are the mean of the last 20 evaluations."),
        ("last10", 0.5, "ours are of 1 024 steps of 64 labeled and 448 unlabeled images."),
        ("last20", 0.5, "ours are the mean of the last 20 evaluations, of 1 024 steps of 64"),
    ],
)
def test_what_keeps_published_figures_from_being_compared_is_said(tmp_path, select, report_kimg, said):
    write_trial(
        tmp_path,
        dataset="cifar10_LT_20.1@20-1",
        algorithm="cadr",
        series=[80.0] * 128,
        report_kimg=report_kimg,
        batch=64,
        uratio=7,
    )
    made = table(load([tmp_path]), "accuracy", select, published=True)
    cadr, prg = [note for note in made.notes if note.startswith("[")][:2]
    assert "Mean of the last 10 evaluations; 131 072 steps of 64 labeled and 448 unlabeled images." in cadr
    assert said in cadr
    assert "Best test figure of the run; 1 048 576 steps" in prg and "3 runs" in prg
    assert not prg.endswith("budget.")  # we have no figure of PRG to compare


def test_every_published_figure_says_what_it_stands_for():
    figures, sources = (
        list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for path in (published_figures.FIGURES, published_figures.SOURCES)
    )
    by_name = {source["source"]: source for source in sources}
    assert len(by_name) == len(sources) and {figure["source"] for figure in figures} == set(by_name)
    for source in sources:
        assert source["title"] and source["venue"] and source["selection"] in published_figures.RULES
    for figure in figures:
        assert 0 < float(figure["value"]) < 100 and (not figure["std"] or float(figure["std"]) >= 0)
        if figure["algorithm"]:
            assert find(figure["algorithm"]).name == figure["algorithm"]
        for spelling in figure["setting"].split():
            labels, size = spelling.split("@")
            unlabeled, _, apart = figure["unlabeled"].partition(" ")
            shape, plus, largest = unlabeled.partition("+")
            words = f"_{labels}{shape and '_' + shape}{apart and '_' + apart}.1@{size}{plus}{largest}-1"
            assert split_parts(figure["dataset"] + words)["unlabeled"] == (figure["unlabeled"] or None)
    places = [tuple(figure[key] for key in figure if key not in ("value", "std")) for figure in figures]
    assert len(set(places)) == len(places)


def test_csv_has_one_exact_line_per_cell(tmp_path):
    sweep(tmp_path, ("fixmatch",), (10, 20))
    write_trial(tmp_path, dataset="digits_LT_20.4@40-100", seed=4, state="failed")
    records = load([tmp_path])
    rows = list(csv.DictReader(io.StringIO(write([table(records, m) for m in ("accuracy", "gmean")], "csv"))))
    assert [(r["metric"], r["imbalance_ratio"], r["n"], r["trials"]) for r in rows] == [
        ("accuracy", "10.0", "3", "3"),
        ("accuracy", "20.0", "3", "4"),
        ("gmean", "10.0", "3", "3"),
        ("gmean", "20.0", "3", "4"),
    ]
    assert float(rows[0]["mean"]) == lines_of(table(records, "accuracy"))["FixMatch"][0].mean
    assert "failed" in rows[1]["note"]


def test_markdown_is_aligned(tmp_path):
    text = formats.markdown(table(load([sweep(tmp_path)]), "accuracy"))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1 and len(lines) == 5
    assert lines[1].count(":|") == 2


def test_latex_escapes_what_users_wrote():
    assert latex.tex(r"a_b 50% #1 {x} \y ~ ^ γ ✗") == (
        r"a\_b 50\% \#1 \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} $\gamma$ ?"
    )


def test_command_line(tmp_path):
    sweep(tmp_path / "results")
    shown = run(tmp_path / "results", "--format", "markdown")
    assert shown.returncode == 0 and shown.stderr == ""
    assert "| Accuracy" in shown.stdout and "| Geometric mean" in shown.stdout
    out = tmp_path / "table.tex"
    assert run("results", "--metric", "gmean", "--out", out, cwd=tmp_path).returncode == 0
    assert out.read_text().count(r"\begin{tabular}") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "/nowhere does not exist"),
        (["foo://bucket/x"], "foo://bucket/x cannot be opened"),
        (["RECORDS", "--rows", "colour"], "cannot be 'colour'"),
        (["RECORDS", "--search"], "none of these trials"),
        (["RECORDS", "--standalone"], "does not go with markdown"),
    ],
)
def test_mistakes_end_with_one_message_and_code_2(tmp_path, arguments, message, capsys):
    write_trial(tmp_path)
    assert main([str(tmp_path) if a == "RECORDS" else a for a in arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


def test_small_validation_sets_are_pointed_out(tmp_path):
    write_trial(tmp_path, dataset="cifar10_LT_20.1@20-1")
    made = table(load([tmp_path]), "accuracy", "validation-best")
    assert any("as few as 1 images" in note for note in made.notes)
    assert not any("as few as" in note for note in table(load([tmp_path]), "accuracy").notes)


def test_trials_of_several_programs_are_pointed_out(tmp_path):
    write_trial(tmp_path, seed=1, commit="a" * 40)
    write_trial(tmp_path, seed=2, commit="b" * 40)
    (note,) = (note for note in table(load([tmp_path]), "accuracy").notes if "versions of the program" in note)
    assert "aaaaaaaaaaaa (1), bbbbbbbbbbbb (1)" in note


@pytest.mark.parametrize(
    "changed", [{"keep_training_state": True}, {"save_kimg": 4.0}, {"keep_ckpt": 9}, {"sync_bn": True}]
)
def test_a_setting_that_changes_no_result_splits_no_row(tmp_path, changed):
    """Nor does one that a younger program records, at the value that it had for older trials."""
    for seed in (1, 2):
        write_trial(tmp_path, seed=seed)
    write_trial(tmp_path, seed=3, **changed)
    (line,) = table(load([tmp_path]), "accuracy").sections[0]
    assert (line.label, line.entries[0].n) == ("FixMatch", 3)


def test_a_setting_that_changes_the_result_keeps_rows_apart_though_it_is_younger_than_the_others(tmp_path):
    write_trial(tmp_path, seed=1)
    write_trial(tmp_path, seed=2, sync_bn=False)
    assert [line.entries[0].n for line in table(load([tmp_path]), "accuracy").sections[0]] == [1, 1]


def bold(made):
    return [line.label for line in made.sections[0] if line.entries[0].best]


def write_levels(root, seeds, **levels):
    """Trials of each method at its level, which every seed shifts alike."""
    for algorithm, level in levels.items():
        for seed in range(seeds):
            series = [level + seed + 0.1 * (seed % 3) * (algorithm == "cap")] * 12
            write_trial(root, dataset=f"digits_LT_20.{seed}@20-100", algorithm=algorithm, seed=seed, series=series)


def test_what_is_bold_is_said_in_the_caption(tmp_path):
    write_levels(tmp_path, 3, fixmatch=50.0, cap=60.0)
    made = table(load([tmp_path]), "accuracy")
    assert bold(made) == ["+ CAP"]
    assert "Bold: the highest mean" in made.caption and "chance" in made.caption
    write_trial(tmp_path / "one", series=[1.0] * 12)
    assert "old" not in table(load([tmp_path / "one"]), "accuracy").caption  # nothing is


def test_what_is_not_shown_to_be_worse_can_be_bold_instead(tmp_path):
    write_levels(tmp_path, 8, fixmatch=50.0, cap=59.95, cadr=60.0)
    made = table(load([tmp_path]), "accuracy", bold="indistinguishable")
    assert bold(made) == ["+ CAP", "+ CADR"]
    assert "not shown to be worse" in made.caption
    assert bold(table(load([tmp_path]), "accuracy")) == ["+ CAP"]  # 60.04 on average


def test_few_seeds_distinguish_nothing(tmp_path):
    write_levels(tmp_path, 3, fixmatch=10.0, cadr=90.0)
    assert bold(table(load([tmp_path]), "accuracy", bold="indistinguishable")) == ["FixMatch", "+ CADR"]


def test_a_cell_with_missing_trials_is_marked_by_neither_rule(tmp_path):
    write_levels(tmp_path, 8, fixmatch=60.0, cadr=60.0, cap=50.0)
    dataset = "digits_LT_20.9@20-100"
    write_trial(tmp_path, dataset=dataset, algorithm="fixmatch", seed=9, state="failed", rows=3, train_kimg=6.0)
    for rule in ("best", "indistinguishable"):
        assert bold(table(load([tmp_path]), "accuracy", bold=rule)) == ["+ CADR"]
    write_trial(tmp_path, dataset=dataset, algorithm="cadr", seed=9, state="failed", rows=3, train_kimg=6.0)
    for rule in ("best", "indistinguishable"):
        assert bold(table(load([tmp_path]), "accuracy", bold=rule)) == []


def test_the_option_reaches_table_and_report(tmp_path, capsys):
    write_levels(tmp_path / "s", 3, fixmatch=10.0, cadr=90.0)
    assert main([str(tmp_path / "s"), "--bold", "indistinguishable", "--metric", "accuracy"]) == 0
    assert capsys.readouterr().out.count("**") == 4
    page = tmp_path / "report.html"
    assert report.main([str(tmp_path / "s"), "--out", str(page), "--bold", "indistinguishable"]) == 0
    assert page.read_text().count("<strong>") == 4


def test_a_thousand_footnotes_have_marks_of_their_own():
    marks = [mark for mark, _ in zip(_marks(), range(20_000), strict=False)]
    assert marks[:2] == ["a", "b"] and marks[26] == "aa" and len(set(marks)) == 20_000


def test_nothing_is_chosen_by_validation_images_that_were_trained_on(tmp_path):
    write_trial(tmp_path, seed=1, facts={"valid_labeled": 12})
    with pytest.raises(UserError, match=r"12 of its 100 validation images.*digits_LT_20_HELDOUT\.1@20-100"):
        table(load([tmp_path]), "accuracy", "validation-best")
    assert table(load([tmp_path]), "accuracy").sections[0][0].entries[0].n == 1
    write_trial(tmp_path, seed=2, facts={"valid_labeled": 0})
    made = table(load([tmp_path]), "accuracy", "validation-best")
    assert [(entry.n, entry.text) for entry in made.sections[0][0].entries] == [(1, "(1/2)")]
    assert "12 of its 100 validation images are labeled ones" in made.footnotes[0][1]


def test_what_is_not_known_of_validation_images_is_said(tmp_path):
    write_trial(tmp_path)
    (note,) = (n for n in table(load([tmp_path]), "accuracy", "validation-best").notes if "do not tell" in n)
    assert "of 1 trial " in note and "validation images" in note


@pytest.mark.parametrize("error", ["  ", "\n\n", "", None, "x" * 10_000])
def test_any_error_has_a_footnote(tmp_path, error):
    write_trial(tmp_path, state="failed", error=error, rows=3)
    ((_, text),) = table(load([tmp_path]), "accuracy").footnotes
    assert text.startswith("fixmatch-digits_LT_20-s1: failed at step") and len(text) < 300


def test_markdown_shows_what_an_error_said(tmp_path):
    write_trial(tmp_path, state="failed", error="expected <class 'int'> | got *x*", rows=3, augment="a|b")
    write_trial(tmp_path, seed=2, augment="d.d.d")
    text = write([table(load([tmp_path]), "accuracy")], "markdown")
    assert "expected \\<class 'int'>" in " ".join(text.split())
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_setting_that_a_method_does_not_take_or_has_as_its_default_is_no_difference(tmp_path):
    write_trial(tmp_path, algorithm="supervised", uratio=7, confidence=0.95)  # on record, but not its own
    write_trial(tmp_path, algorithm="fixmatch", uratio=4, confidence=0.95)
    write_trial(tmp_path, algorithm="uda", uratio=4, confidence=0.8)  # as in UDA's paper
    write_trial(tmp_path, algorithm="cadr", uratio=4, confidence=0.95, batch=8)
    notes = " ".join(table(load([tmp_path]), "accuracy").notes)
    assert "uratio is not" not in notes and "confidence is not" not in notes
    assert "batch is not the same everywhere: 64" in notes


def test_a_method_s_setting_that_somebody_chose_is_told(tmp_path):
    write_trial(tmp_path, algorithm="fixmatch", confidence=0.95)
    write_trial(tmp_path, algorithm="uda", confidence=0.7)
    notes = " ".join(table(load([tmp_path]), "accuracy").notes)
    assert "confidence is not the same everywhere: 0.7 (UDA on Digits); 0.95 (FixMatch on Digits)" in notes


def test_one_table_has_both_metrics_side_by_side(tmp_path):
    sweep(tmp_path / "s", seeds=(1, 2))
    write_trial(
        tmp_path / "s", dataset="digits_LT_10.3@40-100", algorithm="cadr", seed=3, state="failed", error="no memory"
    )
    records = load([tmp_path])
    accuracy, gmean = (table(records, metric) for metric in ("accuracy", "gmean"))
    both = joined([accuracy, gmean])
    assert len(both.headings) == 4 and both.headings[2][0].startswith("Geometric mean")
    for line, left, right in zip(both.sections[0], accuracy.sections[0], gmean.sections[0], strict=True):
        assert [entry.mean for entry in line.entries] == [entry.mean for entry in (*left.entries, *right.entries)]
    assert both.footnotes == accuracy.footnotes and len(both.footnotes) == 1  # one note, though two cells have it
    cadr = next(line for line in both.sections[0] if line.label == "+ CADR" or "CADR" in line.label)
    assert [entry.marks for entry in cadr.entries] == ["a", "", "a", ""]
    out = tmp_path / "t.tex"
    assert main([str(tmp_path), "--together", "--caption", "Ours", "--label", "tab:main", "--out", str(out)]) == 0
    text = out.read_text()
    assert text.count(r"\begin{table}") == 1 and r"\label{tab:main}" in text and r"\caption{Ours" in text


def test_several_tables_get_labels_of_their_own(tmp_path):
    sweep(tmp_path / "s", seeds=(1,))
    out = tmp_path / "t.tex"
    assert main([str(tmp_path), "--label", "tab:main", "--out", str(out)]) == 0
    assert r"\label{tab:main-accuracy}" in out.read_text() and r"\label{tab:main-geometric-mean}" in out.read_text()
