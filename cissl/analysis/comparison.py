"""Confidence intervals of cells, and paired comparisons of two methods.

A comparison takes pairs of trials that share data setting, split and seed, and looks at their differences. Its p-value
comes from the exact sign-flip test. The test assumes no distribution: without a difference between the methods, each
pair would as likely have the opposite sign. The smallest two-sided p-value of n pairs is 2 / 2^n. Fewer than six pairs
can therefore not reach 5 %, and no p-value is printed for them. All comparisons of one call are corrected together
(Benjamini-Hochberg).
"""

import csv
import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from cissl.analysis import formats, labels
from cissl.analysis.cells import Cell, Grid, Position
from cissl.analysis.selection import METRICS
from cissl.analysis.values import FloatArray, Key, Value
from cissl.errors import UserError

FEWEST_PAIRS = 6  # the smallest n whose exact two-sided test can reach 5 %
LEVEL = 0.95
RESAMPLES = 9999
ALL = "all settings"
Interval = tuple[float, float]  # lower and upper end
Compared = dict[tuple[Key, Key | None], "Comparison"]  # by row and column; None for all columns together


@dataclass(frozen=True)
class Summary:
    """The figures of one cell in a few numbers, in percent.

    Attributes:
        n: number of figures.
        mean: NaN without any figure.
        std: sample standard deviation in percentage points; NaN for fewer than two figures.
        t_interval: Student's interval of the mean, cut to 0 … 100; NaN for fewer than two figures.
        bootstrap_interval: the bootstrap's; NaN for fewer than two figures.
    """

    n: int
    mean: float
    std: float
    t_interval: Interval
    bootstrap_interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Method minus baseline over paired trials, in percentage points.

    Attributes:
        n: number of pairs.
        difference: mean of the differences; NaN without any pair.
        interval: of the mean difference, from Student's t; NaN with fewer than two pairs.
        effect: mean difference ÷ sample std of the differences (Cohen's d for pairs).
        improvement: probability that a trial of the method beats one of the baseline in the same setting, ties
            counting half (Mann-Whitney's U ÷ number of combinations); NaN with fewer than two pairs.
        p: exact sign-flip test, two-sided; NaN with fewer pairs than can reach 5 %.
        corrected: p after Benjamini-Hochberg over all comparisons made together.
    """

    n: int
    difference: float
    interval: Interval
    effect: float
    improvement: float
    p: float
    corrected: float = np.nan

    @property
    def verdict(self) -> str:
        """What may be concluded, in words."""
        if self.n < 2:
            return "no pair to compare" if self.n == 0 else "one pair: nothing can be said about chance"
        if self.n < FEWEST_PAIRS:
            return f"{self.n} pairs: too few to conclude"
        if self.corrected < 1 - LEVEL:
            return "better than the baseline" if self.difference > 0 else "worse than the baseline"
        return "no difference shown"


def summarize(figures: Sequence[float], level: float = LEVEL) -> Summary:
    """Mean, spread and intervals of one cell's figures.

    Args:
        figures: in percent.
        level: of the intervals, between 0 and 1.
    """
    values = np.asarray(figures, dtype=np.float64)
    nowhere = (np.nan, np.nan)
    if len(values) < 2:
        mean = float(values.mean()) if len(values) else np.nan
        return Summary(len(values), mean, np.nan, nowhere, nowhere)
    return Summary(
        len(values),
        float(values.mean()),
        float(values.std(ddof=1)),
        within(t_interval(values, level), 0, 100),
        bootstrap(values, level),
    )


def t_interval(values: FloatArray, level: float = LEVEL) -> Interval:
    """Student's interval of the mean of (n,) values, n > 1; a single point where all values are equal."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    low, high = stats.t.interval(level, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return float(low), float(high)


def within(interval: Interval, lowest: float, highest: float) -> Interval:
    """The part of an interval that is possible; with two or three trials Student's interval reaches far beyond it."""
    return max(interval[0], lowest), min(interval[1], highest)


def bootstrap(values: FloatArray, level: float = LEVEL) -> Interval:
    """Percentile bootstrap interval of the mean of (n,) values, n > 1.

    As with every bootstrap, the interval of a handful of values is too narrow.
    """
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=RESAMPLES, method="percentile", rng=0
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def compare(pairs: Sequence[tuple[float, float]], groups: Sequence[object] = ()) -> Comparison:
    """Compare a method with a baseline.

    Args:
        pairs: (method, baseline) figures in percent of trials that share setting, split and seed.
        groups: the setting of each pair. The probability of improvement combines trials of one setting only.
    """
    values = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    differences = values[:, 0] - values[:, 1]
    n = len(differences)
    if n == 0:
        return Comparison(0, np.nan, (np.nan, np.nan), np.nan, np.nan, np.nan)
    if n == 1:
        return Comparison(1, float(differences[0]), (np.nan, np.nan), np.nan, np.nan, np.nan)
    spread = float(differences.std(ddof=1))
    return Comparison(
        n,
        float(differences.mean()),
        within(t_interval(differences), -100, 100),
        float(differences.mean()) / spread if spread else np.nan,
        _improvement(values, groups),
        _sign_flip_p(differences) if n >= FEWEST_PAIRS else np.nan,
    )


def _improvement(values: FloatArray, groups: Sequence[object]) -> float:
    """The probability that a trial of the method beats one of the baseline, from (n, 2) figures."""
    keys = list(groups) or [None] * len(values)
    wins = combinations = 0.0
    for key in dict.fromkeys(keys):
        part = values[[k == key for k in keys]]
        wins += stats.mannwhitneyu(part[:, 0], part[:, 1]).statistic
        combinations += len(part) ** 2
    return float(wins / combinations)


def _sign_flip_p(differences: FloatArray) -> float:
    """The p-value of (n,) differences: exact up to 13 pairs, beyond that from a seeded sample of the 2^n patterns."""
    result = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, rng=0
    )
    return float(result.pvalue)


def correct(comparisons: list[Comparison]) -> list[Comparison]:
    """Fill in the corrected p-values of comparisons that are made together."""
    tested = [k for k, comparison in enumerate(comparisons) if np.isfinite(comparison.p)]
    if not tested:
        return comparisons
    adjusted = stats.false_discovery_control([comparisons[k].p for k in tested])
    corrected = dict(zip(tested, map(float, adjusted), strict=True))
    return [replace(c, corrected=corrected.get(k, np.nan)) for k, c in enumerate(comparisons)]


def compare_rows(grid: Grid, baseline: Key) -> Compared:
    """Compare every other row with the baseline, in each column and (column None) over all columns together."""
    made: Compared = {}
    for row in grid.rows:
        if row == baseline:
            continue
        everything: list[tuple[float, float]] = []
        settings: list[Key] = []
        for column in grid.columns:
            pairs = _pairs(grid.cells.get((row, column)), grid.cells.get((baseline, column)))
            if pairs:
                made[row, column] = compare(pairs)
            everything += pairs
            settings += [column] * len(pairs)
        if len(set(settings)) > 1:
            made[row, None] = compare(everything, settings)
    return dict(zip(made, correct(list(made.values())), strict=True))


def indistinguishable(grid: Grid) -> set[Position]:
    """For each data setting, the cell with the highest mean and all cells that are not shown to be worse.

    Cells with missing trials are left out. So is a data setting whose highest mean is in such a cell.
    """
    marked = grid.best()
    places: list[Position] = []
    compared: list[Comparison] = []
    for group in grid.rivals():
        best = next((place for place in group if place in marked), None)
        others = [place for place in group if place not in marked and not grid.cells[place].incomplete]
        if best:
            places += others
            compared += [compare(_pairs(grid.cells[place], grid.cells[best])) for place in others]
    shown_worse = {
        place
        for place, comparison in zip(places, correct(compared), strict=True)
        if comparison.difference < 0 and comparison.corrected < 1 - LEVEL
    }
    return marked | (set(places) - shown_worse)


def _pairs(method: Cell | None, baseline: Cell | None) -> list[tuple[float, float]]:
    """(method, baseline) figures of the trials that share the split's seed, the training's seed, and the split."""
    if method is None or baseline is None:
        return []
    theirs = _by_replicate(baseline)
    return [(figure, theirs[key]) for key, figure in _by_replicate(method).items() if key in theirs]


def _by_replicate(cell: Cell) -> dict[tuple[int, int, str | None], float]:
    return {
        (*trial.replicate, trial.provenance.get("split_hash")): figure
        for trial, figure in zip(cell.counted, cell.figures, strict=True)
    }


def find_baseline(grid: Grid, algorithm: str) -> Key:
    """The row of this algorithm.

    Raises:
        UserError: no row, or several rows, are of this algorithm.
    """
    rows = [row for row in grid.rows if dict(row).get("algorithm") == algorithm]
    if len(rows) != 1:
        names = ", ".join(sorted({str(dict(row).get("algorithm")) for row in grid.rows}))
        many = "; ".join(labels.row_label(row) for row in rows)
        apart = dict.fromkeys(key for row in rows for key, _ in row if key != "algorithm")
        if "train_kimg" in apart:
            apart["steps"] = None  # steps follow from it, and would be the next to distinguish the rows
        raise UserError(
            f"the baseline '{algorithm}' stands for {len(rows)} rows ({many}); give one sweep's folder, or "
            f"--columns {','.join(('dataset', *apart))}"
            if rows
            else f"no trial of the baseline '{algorithm}'; --baseline can be one of: {names}"
        )
    return rows[0]


def as_text(grid: Grid, baseline: Key) -> str:
    """The table of intervals and the table of comparisons, in Markdown."""
    heads = dict(zip(grid.columns, labels.headings_in_words(grid.columns), strict=True))
    summaries = [["Method", "Setting", "n", "mean", "std", "95 % (t)", "95 % (bootstrap)"]]
    for (row, column), cell in _ordered_cells(grid):
        summary = summarize(cell.figures)
        numbers = [_number(summary.mean), _number(summary.std), _span(summary.t_interval)]
        bootstrap_span = _span(summary.bootstrap_interval)
        summaries.append([labels.row_label(row), heads[column], str(summary.n), *numbers, bootstrap_span])
    name = labels.row_label(baseline)
    titles, lines = comparison_cells(compare_rows(grid, baseline), heads)
    metric = METRICS[grid.metric]
    parts = [
        f"{metric[0].upper()}{metric[1:]} (%), the {grid.selection.caption}; ± and std: sample standard deviation.",
        formats.aligned(summaries, left=(0, 1)),
        f"Differences from {name}, in percentage points, over trials that share setting, split and seed. "
        f"p: exact sign-flip test, two-sided; with fewer than {FEWEST_PAIRS} pairs it cannot reach 5 % and is not "
        "printed. Corrected for all rows below (Benjamini-Hochberg). "
        f"'{ALL.capitalize()}' treats settings as independent. Intervals by Student's t assume a normal distribution; "
        "bootstrap intervals of few trials are too narrow.",
        formats.aligned([titles, *lines], left=(0, 1, 9)) if lines else "Nothing to compare it with.",
    ]
    parts = [part if part.startswith("|") else textwrap.fill(part, 100) for part in parts + grid.notes]
    return "\n\n".join(parts) + "\n"


def comparison_cells(compared: Compared, heads: dict[Key, str]) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of a table of comparisons, as text.

    Args:
        heads: column → its heading.
    """
    titles = [
        "Method",
        "Setting",
        "pairs",
        "difference",
        "95 % (t)",
        "effect d",
        "P(improvement)",
        "p",
        "p corrected",
        "",
    ]
    lines = []
    for (row, column), c in compared.items():
        numbers = [_number(c.difference, "+"), _span(c.interval, "+"), _number(c.effect), _number(c.improvement)]
        where = heads[column] if column is not None else ALL
        lines.append([labels.row_label(row), where, str(c.n), *numbers, _p(c.p), _p(c.corrected), c.verdict])
    return titles, lines


def as_csv(grid: Grid, baseline: Key) -> str:
    """One line for each summary and each comparison, with numbers that are not rounded."""
    heads = dict(zip(grid.columns, labels.headings_in_words(grid.columns), strict=True))
    lines: list[dict[str, Value]] = []
    line: dict[str, Value]
    for (row, column), cell in _ordered_cells(grid):
        s = summarize(cell.figures)
        line = {"kind": "summary", "method": labels.row_label(row), "setting": heads[column], "n": s.n}
        line |= {"mean": s.mean, "std": s.std, "t_low": s.t_interval[0], "t_high": s.t_interval[1]}
        lines.append(line | {"bootstrap_low": s.bootstrap_interval[0], "bootstrap_high": s.bootstrap_interval[1]})
    for (row, where), c in compare_rows(grid, baseline).items():
        line = {"kind": "comparison", "method": labels.row_label(row), "baseline": labels.row_label(baseline)}
        line |= {"setting": heads[where] if where is not None else ALL, "n": c.n, "mean": c.difference}
        line |= {"t_low": c.interval[0], "t_high": c.interval[1], "effect": c.effect, "improvement": c.improvement}
        lines.append(line | {"p": c.p, "p_corrected": c.corrected, "verdict": c.verdict})
    output = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(output, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v != v else v for k, v in line.items()} for line in lines)
    return output.getvalue()


def _ordered_cells(grid: Grid) -> Iterator[tuple[Position, Cell]]:
    """The cells, one column after the other."""
    for column in grid.columns:
        for row in grid.rows:
            if (row, column) in grid.cells:
                yield (row, column), grid.cells[row, column]


def _number(value: float, sign: str = "") -> str:
    return formats.PLACEHOLDER if np.isnan(value) else f"{value:{sign}.2f}"


def _span(interval: Interval, sign: str = "") -> str:
    return formats.PLACEHOLDER if np.isnan(interval[0]) else f"{interval[0]:{sign}.2f} … {interval[1]:{sign}.2f}"


def _p(value: float) -> str:
    return formats.PLACEHOLDER if np.isnan(value) else f"{value:.4f}"
