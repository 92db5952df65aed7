import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from cissl.algorithms.cards import BASE, built_in
from cissl.analysis import curves
from cissl.analysis.cells import build
from cissl.analysis.figures import FIGURES, draw
from cissl.analysis.history import MEASURED, VECTORS
from cissl.analysis.methods import LABELS, STYLES, Algorithm, label, rank, styles
from cissl.analysis.panels import COLUMN_WIDTH, MANY, NotOnRecord
from cissl.analysis.results import load
from cissl.analysis.selection import SELECTIONS
from cissl.analysis.series import KINDS, series_by_setting
from tests.analysis.synthetic_records import write_trial

SCRIPT = Path(__file__).resolve().parents[2] / "analysis" / "curves.py"


def sweep(root, algorithms=("supervised", "fixmatch", "cadr"), seeds=(1, 2, 3), **settings):
    for algorithm in algorithms:
        for seed in seeds:
            dataset = f"digits_LT_20.{seed}@20-100"
            write_trial(root, dataset=dataset, algorithm=algorithm, seed=seed, pseudo_labels=True, **settings)
    return root


def series_of(root):
    grid = build(load([root], vectors=(*VECTORS, MEASURED)), "accuracy", SELECTIONS["last10"])
    return dict(series_by_setting(grid))


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_draws_at_column_width(tmp_path, kind):
    ((heading, series),) = series_of(sweep(tmp_path)).items()
    figure = draw(kind, series, heading)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert figure.get_figwidth() == COLUMN_WIDTH
    sizes = [text.get_fontsize() for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))]
    assert min(sizes) >= 7


@pytest.mark.parametrize("kind", FIGURES)
def test_a_hundred_classes_one_seed_and_many_variants_still_draw(tmp_path, kind):
    for beta in (0.1, 0.25, 0.5, 0.75, 1.0, 2.0):
        dataset = "cifar100_LT_50.1@50-1"
        write_trial(tmp_path, dataset=dataset, algorithm="cadr", cai_beta=beta, classes=100, rows=3, pseudo_labels=True)
    ((heading, series),) = series_of(tmp_path).items()
    assert len(series) == 6
    draw(kind, series, heading).savefig(tmp_path / "figure.pdf")


def test_many_methods_are_drawn_in_groups_with_fixmatch_in_each_and_one_scale(tmp_path):
    algorithms = [name for name, card in built_in().items() if card.kind == BASE][:20]
    sweep(tmp_path, sorted({*algorithms, "fixmatch"}), seeds=(1,), rows=4)
    (series,) = series_of(tmp_path).values()
    figure = draw("training", series, "title")
    groups = [[text.get_text() for text in part.legends[0].get_texts()] for part in figure.subfigs if part.legends]
    assert all(len(group) <= MANY and "FixMatch (n = 1)" in group for group in groups) and len(groups) > 1
    assert sorted({name for group in groups for name in group}) == sorted(series)
    for panel in range(2):
        assert len({part.axes[panel].get_ylim() for part in figure.subfigs if part.axes}) == 1
    lines = sum(len(part.axes[0].lines) for part in figure.subfigs if part.axes)
    assert lines == len(series) + len(groups) - 1
    figure.savefig(tmp_path / "figure.png")
    assert not _overlapping(figure)


def _overlapping(figure):
    """Legends that run into each other or over the figure's edge."""
    boxes = [part.legends[0].get_window_extent() for part in figure.subfigs if part.legends]
    pairs = [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]
    return pairs or [box for box in boxes if box.x0 < -2 or box.x1 > figure.bbox.x1 + 2]


def test_band_is_mean_and_sample_std(tmp_path):
    values = [[10.0, 20.0, 30.0], [20.0, 20.0, 60.0]]
    for seed, curve in enumerate(values, start=1):
        write_trial(tmp_path, dataset=f"digits_LT_20.{seed}@20-100", seed=seed, series=curve)
    (series,) = series_of(tmp_path).values()
    axis = draw("training", series, "").axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), np.mean(values, axis=0))
    (band,) = axis.collections
    upper = np.mean(values, axis=0) + np.std(values, axis=0, ddof=1)
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(upper.max())


def test_thresholds_follow_the_paper(tmp_path):
    sweep(tmp_path, ("fixmatch", "cadr"), seeds=(1,), cai_beta=0.5)
    (series,) = series_of(tmp_path).values()
    axis = draw("thresholds", series, "").axes[0]
    plain, aware = (container.lines[0].get_ydata() for container in axis.containers)
    np.testing.assert_allclose(plain, 0.95)
    prior = np.linspace(1.5, 0.5, 10)
    np.testing.assert_allclose(aware, 0.95 * (prior / prior.max()) ** 0.5, rtol=1e-6)


def test_prior_is_compared_with_the_truth(tmp_path):
    sweep(tmp_path, ("fixmatch",), seeds=(1,))
    (series,) = series_of(tmp_path).values()
    distance = draw("prior", series, "").axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(distance, 100 * np.abs(np.linspace(1.5, 0.5, 10) / 10 - 0.1).sum() / 2, rtol=1e-5)


def test_each_trial_is_compared_with_the_truth_of_its_own_split(tmp_path):
    for seed, counts in ((1, [100] * 10), (2, [300] + [700 / 9] * 9)):
        counts = np.array(counts).round().astype(int)
        facts = {"unlabeled_counts": counts.tolist(), "unlabeled_size": int(counts.sum())}
        write_trial(tmp_path, dataset=f"digits_RAND.{seed}@20-100", seed=seed, facts=facts)
    (series,) = series_of(tmp_path).values()
    points, curves = draw("prior", series, "").axes
    estimate = np.linspace(1.5, 0.5, 10) / 10
    truths = [np.full(10, 0.1), np.array([0.3] + [0.7 / 9] * 9)]
    expected = np.mean([50 * np.abs(estimate - truth).sum() for truth in truths])
    np.testing.assert_allclose(curves.lines[0].get_ydata(), expected, rtol=0.01)
    (truth,) = (line for line in points.lines if line.get_label() == "truth")
    np.testing.assert_allclose(np.sort(truth.get_ydata()), np.sort(100 * np.mean(truths, axis=0)), rtol=0.01)


LABELED = [20, 14, 10, 7, 5, 4, 3, 2, 1, 1]  # of the synthetic records: 67


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


@pytest.mark.parametrize("unlabeled_labeled", [67, None])
def test_no_truth_is_made_of_the_labeled_images(tmp_path, unlabeled_labeled):
    """Of a data set whose unlabeled images have no labels nothing is known but what was trained on."""
    facts = {"unlabeled_counts": LABELED, "unlabeled_size": 3000, "unlabeled_labeled": unlabeled_labeled}
    sweep(tmp_path, ("fixmatch", "cadr"), seeds=(1, 2), facts=facts)
    (series,) = series_of(tmp_path).values()
    figure = draw("prior", series, "")
    (axis,) = figure.axes  # the distance to the truth is left out
    assert not any(line.get_label() == "truth" for line in axis.lines)
    assert "truth is not known: the class of 67 of 3000 unlabeled images" in words(figure)
    with pytest.raises(NotOnRecord, match="whether pseudo-labels are right is not known: the class of 67 of 3000"):
        draw("pseudo-labels", series, "")


def test_what_is_known_of_some_images_is_shown_as_that(tmp_path):
    facts = {"unlabeled_counts": [500] * 10, "unlabeled_size": 104_900, "unlabeled_labeled": 67}
    sweep(tmp_path, ("fixmatch",), seeds=(1,), facts=facts)
    (series,) = series_of(tmp_path).values()
    assert len(draw("prior", series, "").axes) == 1
    figure = draw("pseudo-labels", series, "")
    assert len(figure.axes) == 3
    assert "the class of 5000 of 104900 unlabeled images is on record, 67 of them labeled" in words(figure)


def test_a_truth_that_one_trial_lacks_is_no_truth(tmp_path):
    sweep(tmp_path, ("fixmatch",), seeds=(1,))
    sweep(tmp_path, ("fixmatch",), seeds=(2,), facts={"unlabeled_counts": [0] * 10})
    (series,) = series_of(tmp_path).values()
    assert len(draw("prior", series, "").axes) == 1
    with pytest.raises(NotOnRecord, match="0 of 1000"):
        draw("pseudo-labels", series, "")


def test_panels_without_a_figure_are_left_out(tmp_path):
    """A test set that lacks a class has no geometric mean, and that class no accuracy."""
    path = write_trial(tmp_path)
    rows = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    for row in rows:
        row["gmean"], row["per_class"][0] = None, None
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (series,) = series_of(tmp_path).values()
    (axis,) = draw("training", series, "").axes
    assert axis.get_ylabel() == "accuracy (%)"
    head = draw("head-tail", series, "").axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(head, [np.mean(row["per_class"][1:3]) for row in rows], rtol=1e-5)


def test_classes_have_their_names(tmp_path):
    names = ["airplane", "a $5 note", "dog $x^2$", "\U00012345", "x" * 300, "f", "g", "h", "i", "j"]
    sweep(tmp_path, ("fixmatch", "cadr"), seeds=(1,), facts={"class_names": names})
    (series,) = series_of(tmp_path).values()
    figure = draw("prior", series, "")
    figure.savefig(tmp_path / "figure.png")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown[:4] == ["airplane (20)", r"a \$5 note (14)", r"dog \$x^2\$ (10)", "3 (7)"]
    assert shown[4] == "x" * 13 + "… (5)"
    assert draw("head-tail", series, "").axes[0].get_title("left").startswith("head classes: airplane, a")
    matrix = draw("confusion", series, "").axes[0]
    assert [label.get_text() for label in matrix.get_yticklabels()][5:] == list("fghij")


def test_of_many_classes_some_are_named(tmp_path):
    names = [f"kind {k}" for k in range(100)]
    write_trial(tmp_path, dataset="cifar100_LT_50.1@50-1", classes=100, rows=3, facts={"class_names": names})
    (series,) = series_of(tmp_path).values()
    shown = [label.get_text() for label in draw("classes", series, "").axes[1].get_xticklabels()]
    assert shown[0] == "kind 0 (20)" and 8 <= len(shown) <= 12


def test_data_of_another_number_of_classes_are_not_mixed_in(tmp_path):
    write_trial(tmp_path, seed=1)
    write_trial(tmp_path, seed=2, classes=12, split_hash="0123456789ab")
    (series,) = series_of(tmp_path).values()
    draw("training", series, "")
    for kind in FIGURES.keys() - {"training"}:
        with pytest.raises(NotOnRecord, match="10 and 12"):
            draw(kind, series, "")


def test_damaged_matrices_cost_their_figure_alone(tmp_path, capsys):
    path = write_trial(tmp_path / "s")
    (path / "confusion.npy").write_bytes(b"")
    assert curves.main([str(tmp_path / "s"), "--out", str(tmp_path / "out"), "--format", "svg"]) == 0
    assert {file.name.partition("-digits")[0] for file in (tmp_path / "out").iterdir()} == {
        "training", "head-tail", "prior", "thresholds", "measured",
    }  # fmt: skip
    assert "confusion.npy cannot be read" in capsys.readouterr().out


def test_every_kind_has_a_caption():
    assert list(KINDS) == list(FIGURES)


def test_precision_of_pseudo_labels(tmp_path):
    sweep(tmp_path, ("fixmatch",), seeds=(1,))
    (series,) = series_of(tmp_path).values()
    axes = draw("pseudo-labels", series, "").axes
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), 100 * (30 + 29 + 28) / (40 + 39 + 38))
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), 100 * (23 + 22 + 21) / (33 + 32 + 31))


def test_methods_that_a_figure_leaves_out_are_named(tmp_path):
    sweep(tmp_path, ("supervised", "fixmatch", "cadr"), seeds=(1,))
    for trial in tmp_path.glob("cadr*"):
        rows = [json.loads(line) for line in (trial / "history.jsonl").read_text().splitlines()]
        lines = [json.dumps(row | {"measured": {"weight": 1.0}}) for row in rows]
        (trial / "history.jsonl").write_text("\n".join(lines) + "\n")
    (series,) = series_of(tmp_path).values()
    note = draw("thresholds", series, "γ = 20")._suptitle.get_text()
    assert note == "γ = 20\nwithout a threshold on record: Supervised, + CADR"
    assert draw("prior", series, "γ = 20")._suptitle.get_text().endswith("without a class prior on record: Supervised")


def test_what_methods_measure_is_drawn(tmp_path):
    sweep(tmp_path, ("fixmatch", "cadr"), seeds=(1, 2))
    (series,) = series_of(tmp_path).values()
    (trial, _), _ = series.values()
    assert trial.measured["weight"].tolist() == [10.0 * k for k in range(1, trial.rows + 1)]
    assert trial.measured["shares"].shape == (trial.rows, 10)
    figure = draw("measured", series, "")
    shares, weight = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes] == ["shares", "weight"]  # thresholds have their own figure
    np.testing.assert_allclose(weight.lines[0].get_ydata(), trial.measured["weight"])
    for collection in weight.collections:  # numbers above 100 are no percentages
        assert collection.get_paths()[0].vertices[:, 1].max() == trial.measured["weight"].max()


def test_what_is_measured_now_and_then_or_as_a_table_spoils_nothing(tmp_path):
    write_trial(tmp_path, algorithm="fixmatch", rows=3)
    values = [{"late": 1.0, "table": [[1, 2]]}, {}, {"late": None, "two": [1, 2]}]
    (path,) = tmp_path.glob("*/history.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row | {"measured": each} for row, each in zip(rows[-3:], values, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    (series,) = series_of(tmp_path).values()
    figure = draw("measured", series, "")
    np.testing.assert_equal(figure.axes[0].lines[0].get_ydata(), [1, np.nan, np.nan])
    assert figure._suptitle.get_text() == "neither numbers nor per class: two"


def test_what_is_not_on_record_is_said(tmp_path):
    write_trial(tmp_path, algorithm="supervised")
    (series,) = series_of(tmp_path).values()
    for kind in ("prior", "thresholds", "pseudo-labels"):
        with pytest.raises(NotOnRecord, match="unlabeled images"):
            draw(kind, series, "")


def test_running_trials_stand_in_where_none_is_complete(tmp_path):
    write_trial(tmp_path, dataset="digits_LT_20.1@20-100", seed=1, state="running", rows=5)
    write_trial(tmp_path, dataset="digits_LT_20.2@20-100", seed=2, state="running", rows=3)
    write_trial(tmp_path, dataset="digits_LT_20.3@20-100", seed=3, state="failed")
    (series,) = series_of(tmp_path).values()
    assert list(series) == ["FixMatch (2 running)"]
    assert len(draw("training", series, "").axes[0].lines[0].get_xdata()) == 3  # as far as both have come


def test_every_method_has_a_style_of_its_own():
    assert set(STYLES) == set(LABELS)
    assert len({color for color, *_ in STYLES.values()}) == len(STYLES)
    assert len({dashes for _, dashes, _ in STYLES.values()}) == len(STYLES)
    everything = [*LABELS, *(f"fixmatch+{name}" for name in "abcdefghijkl")]
    assert len(set(styles(everything).values())) == len(everything)


def test_methods_are_called_by_their_titles_and_stand_in_order():
    ours = Algorithm.titled("soft.py:SoftFixMatch", "Soft FixMatch")
    names = [ours, "flexmatch", "fixmatch+darp", "cadr", "fixmatch", "supervised", "fixmatch+abc"]
    assert [label(name) for name in sorted(names, key=rank)] == [
        "Supervised", "FixMatch", "+ CADR", "+ ABC", "+ DARP", "FlexMatch", "Soft FixMatch",
    ]  # fmt: skip
    assert label("soft.py:SoftFixMatch") == "SoftFixMatch"  # a record of before titles
    assert label("method_of_another_version") == "method_of_another_version"


def test_ones_own_method_has_its_title_in_a_figure(tmp_path):
    write_trial(tmp_path, dataset="digits_LT_10.1@10-100", algorithm="soft.py:Soft", title="Soft FixMatch", seed=1)
    write_trial(tmp_path, dataset="digits_LT_10.1@10-100", algorithm="fixmatch", seed=1)
    (series,) = series_of(tmp_path).values()
    assert list(series) == ["FixMatch (n = 1)", "Soft FixMatch (n = 1)"]
    assert draw("thresholds", series, "").axes  # what a method measured is drawn, whoever wrote it


def test_command_line_writes_png_and_pdf(tmp_path):
    sweep(tmp_path / "records", seeds=(1, 2))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "records", "--kind", "training", "--out", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["training-digits-gamma-20.pdf", "training-digits-gamma-20.png"]
    assert (tmp_path / "out" / names[0]).read_bytes().startswith(b"%PDF")
