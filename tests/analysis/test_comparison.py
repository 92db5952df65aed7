import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cissl.analysis.cells import build
from cissl.analysis.comparison import as_csv, as_text, compare, compare_rows, correct, find_baseline, summarize
from cissl.analysis.results import load
from cissl.analysis.selection import SELECTIONS
from cissl.errors import UserError
from tests.analysis.synthetic_records import write_trial

# Student's sleep data (1908): extra hours of sleep under two drugs, ten patients; t-test p = 0.002833 (R, t.test).
SLEEP = list(
    zip(
        [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
        [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
        strict=True,
    )
)


def test_intervals_of_known_data():
    summary = summarize([a - b for a, b in SLEEP])
    assert (summary.n, summary.mean) == (10, pytest.approx(1.58))
    assert summary.std == pytest.approx(1.2299954)
    assert summary.t_interval == pytest.approx((0.7001142, 2.4598858))  # R: t.test(extra ~ group, paired = TRUE)
    low, high = summary.bootstrap_interval
    assert 0.7 < low < 1.58 < high < 2.5


def test_comparison_of_known_data():
    made = compare(SLEEP)
    assert made.interval == pytest.approx((0.7001142, 2.4598858))
    assert made.effect == pytest.approx(1.58 / 1.2299954, rel=1e-6)
    differences = np.array([a - b for a, b in SLEEP])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)
    oracle = np.mean(np.abs(differences @ signs) >= abs(differences.sum()) - 1e-9)
    assert made.p == pytest.approx(oracle)
    wins = np.mean([[(a > b) + 0.5 * (a == b) for _, b in SLEEP] for a, _ in SLEEP])
    assert made.improvement == pytest.approx(wins)


def test_few_pairs_give_words_instead_of_a_p_value():
    made = correct([compare([(80, 60), (81, 61), (82, 60)])])[0]
    assert np.isnan(made.p) and "too few" in made.verdict
    assert compare([]).verdict == "no pair to compare"
    assert "one pair" in compare([(2, 1)]).verdict
    (enough,) = correct([compare([(80 + k, 60 - k) for k in range(6)])])
    assert enough.p == pytest.approx(2 / 2**6) and enough.verdict == "better than the baseline"


def test_equal_figures_are_no_difference():
    (made,) = correct([compare([(50.0, 50.0)] * 8)])
    assert made.interval == (0.0, 0.0) and np.isnan(made.effect) and made.improvement == 0.5
    assert made.verdict == "no difference shown"


def test_improvement_combines_within_settings_only():
    pairs = [(10, 0), (11, 1), (90, 95), (91, 96)]
    assert compare(pairs, ["easy", "easy", "hard", "hard"]).improvement == 0.5


def test_p_values_are_corrected_together_as_scipy_does():
    rng = np.random.default_rng(0)
    made = correct([compare(rng.normal(shift, 1, (8, 2)) * [1, 0]) for shift in (0.2, 0.6, 1.0, 2.0)])
    expected = stats.false_discovery_control([c.p for c in made])
    assert [c.corrected for c in made] == pytest.approx(list(expected))
    assert all(c.corrected >= c.p for c in made)


def grid_of(root, metric="accuracy"):
    return build(load([root]), metric, SELECTIONS["last10"])


def sweep(root, method, baseline, seeds):
    for seed in seeds:
        for algorithm, level in (("cadr", method), ("fixmatch", baseline)):
            write_trial(
                root,
                dataset=f"digits_LT_20.{seed}@40-100",
                algorithm=algorithm,
                seed=seed,
                series=[level + seed] * 12,
            )


def test_only_trials_with_the_same_split_and_seed_are_paired(tmp_path):
    sweep(tmp_path, 70.0, 60.0, (1, 2))
    write_trial(tmp_path, dataset="digits_LT_20.9@40-100", algorithm="cadr", seed=9, series=[0.0] * 12)
    write_trial(tmp_path, dataset="digits_LT_20.3@40-100", seed=3, state="failed", train_kimg=6.0)
    write_trial(tmp_path, dataset="digits_LT_20.3@40-100", algorithm="cadr", seed=3, series=[1.0] * 12)
    grid = grid_of(tmp_path)
    (made,) = compare_rows(grid, find_baseline(grid, "fixmatch")).values()
    assert (made.n, made.difference, made.interval) == (2, 10.0, (10.0, 10.0))


def test_settings_are_pooled_as_well(tmp_path):
    for ratio in (10, 20):
        for seed in (1, 2, 3):
            for algorithm in ("fixmatch", "cadr"):
                write_trial(tmp_path, dataset=f"digits_LT_{ratio}.{seed}@40-100", algorithm=algorithm, seed=seed)
    grid = grid_of(tmp_path)
    baseline = find_baseline(grid, "fixmatch")
    made = compare_rows(grid, baseline)
    assert [c.n for c in made.values()] == [3, 3, 6]
    text = as_text(grid, baseline)
    assert "all settings" in text and "3 pairs: too few to conclude" in text and "0.0312" in text
    rows = list(csv.DictReader(io.StringIO(as_csv(grid, baseline))))
    assert [r["kind"] for r in rows] == ["summary"] * 4 + ["comparison"] * 3
    assert rows[-1]["setting"] == "all settings" and float(rows[-1]["p"]) == pytest.approx(2 / 2**6)


def test_a_baseline_must_be_one_row(tmp_path):
    write_trial(tmp_path, algorithm="cadr", cai_beta=0.5)
    write_trial(tmp_path, algorithm="cadr", cai_beta=1.0)
    with pytest.raises(UserError, match="can be one of: cadr"):
        find_baseline(grid_of(tmp_path), "fixmatch")
    with pytest.raises(UserError, match=r"stands for 2 rows \(.*β = 0.5; .*β = 1.*--columns dataset,cai_beta"):
        find_baseline(grid_of(tmp_path), "cadr")


def test_the_way_out_of_several_baselines_is_one(tmp_path):
    write_trial(tmp_path, algorithm="fixmatch", train_kimg=6.0)
    write_trial(tmp_path, algorithm="fixmatch", train_kimg=15.0)
    records = load([tmp_path])
    with pytest.raises(UserError) as error:
        find_baseline(build(records, "accuracy", SELECTIONS["last10"]), "fixmatch")
    columns = str(error.value).rpartition("--columns ")[2].split(",")
    assert find_baseline(build(records, "accuracy", SELECTIONS["last10"], columns=columns), "fixmatch")


def test_command_runs_although_it_is_called_statistics(tmp_path):
    sweep(tmp_path, 70.0, 60.0, (1, 2))
    script = Path(__file__).resolve().parents[2] / "analysis" / "statistics.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, cwd=script.parent
    )
    assert done.returncode == 0 and "+10.00" in done.stdout, done.stderr


def test_nothing_impossible_is_said_of_two_trials_and_nothing_of_one_pair():
    assert summarize([90.0, 99.0]).t_interval == pytest.approx((37.33, 100.0), abs=0.01)
    assert compare([(90.0, 5.0), (99.0, 90.0)]).interval == (-100, 100)
    assert np.isnan(compare([(2.0, 1.0)]).improvement)
