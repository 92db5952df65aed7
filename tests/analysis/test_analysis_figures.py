import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_records import write_trial

from cissl.analysis.curves import series_by_setting
from cissl.analysis.figures import COLUMN_WIDTH, FIGURES, STYLES, NotOnRecord, draw
from cissl.analysis.grid import METHODS, build
from cissl.analysis.results import VECTORS, load
from cissl.analysis.selection import SELECTIONS

SCRIPT = Path(__file__).resolve().parents[2] / "analysis" / "curves.py"


def sweep(root, algorithms=("supervised", "fixmatch", "cadr"), seeds=(1, 2, 3), **settings):
    for algorithm in algorithms:
        for seed in seeds:
            dataset = f"digits_LT_20.{seed}@20-100"
            write_trial(root, dataset=dataset, algorithm=algorithm, seed=seed, pseudo_labels=True, **settings)
    return root


def series_of(root):
    grid = build(load([root], vectors=VECTORS), "accuracy", SELECTIONS["last10"])
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


def test_precision_of_pseudo_labels(tmp_path):
    sweep(tmp_path, ("fixmatch",), seeds=(1,))
    (series,) = series_of(tmp_path).values()
    axes = draw("pseudo-labels", series, "").axes
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), 100 * (30 + 29 + 28) / (40 + 39 + 38))
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), 100 * (23 + 22 + 21) / (33 + 32 + 31))


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
    assert set(STYLES) == set(METHODS)
    assert len({color for color, *_ in STYLES.values()}) == len(STYLES)
    assert len({dashes for _, dashes, _ in STYLES.values()}) == len(STYLES)


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
