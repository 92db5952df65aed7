"""Drawings of one data setting: each takes ``{method: its trials}`` and gives a matplotlib figure.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes. Sizes are
those of a column of a two-column paper (3.4 inches), with type of 7 to 8 points.
"""

from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from cissl.analysis.curves import Series
from cissl.analysis.grid import SYMBOLS
from cissl.analysis.results import Trial
from cissl.analysis.search import Candidate, Search
from cissl.analysis.selection import METRICS

COLUMN_WIDTH = 3.4  # inches
STYLES = {  # colour, dashes, marker
    "supervised": ("#7F7F7F", (0, (1, 1.2)), "s"),
    "fixmatch": ("#0072B2", (0, (4, 1.5)), "o"),
    "cap": ("#56B4E9", (0, (5, 1.2, 1, 1.2)), "v"),
    "cai": ("#009E73", (0, (2, 1)), "^"),
    "cap+cai": ("#E69F00", (0, (6, 1, 2, 1)), "D"),
    "cap+cadr": ("#CC79A7", (0, (3, 1, 1, 1, 1, 1)), "P"),
    "cadr": ("#D55E00", "-", "o"),
}
OTHER_STYLES = (("#000000", "-", "X"), ("#F0E442", "-", "p"), ("#882255", "-", "<"))
VARIANT_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
VARIANT_MARKERS = "os^Dv"
BEST, OTHERS = "#D55E00", "#0072B2"  # candidates of a search
WINDOW = 10  # evaluations that a "final" figure is averaged over
STYLE = {
    "font.family": "sans-serif",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.35,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "figure.dpi": 110,
}


class NotOnRecord(ValueError):
    """The trials' records do not hold what the figure shows."""


def training(series: Series, title: str) -> Figure:
    """Accuracy and geometric mean on the test set over training: mean and ± sample std over seeds."""
    figure, axes = _panels(2, title, height=1.75)
    styles = _styles(series)
    for name, trials in series.items():
        for axis, metric in zip(axes, METRICS, strict=True):
            _band(axis, trials, lambda trial, metric=metric: trial.history[metric], styles[name])
    for axis, label in zip(axes, ("accuracy (%)", "geometric mean (%)"), strict=True):
        axis.set_ylabel(label)
    return _finish(figure, axes, "step", styles, ("lines",))


def head_and_tail(series: Series, title: str) -> Figure:
    """Test accuracy of the classes with most and with fewest labels over training."""
    parts = _head_tail(_counts(series))
    figure, axes = _panels(2, title, height=1.75)
    styles = _styles(series)
    for axis, (part, classes) in zip(axes, parts.items(), strict=True):
        for name, trials in series.items():
            _band(axis, trials, lambda trial, c=classes: _class_mean(trial, "per_class", c), styles[name])
        axis.set_ylabel("accuracy (%)")
        axis.set_title(f"{part}: {_class_range(classes)}", loc="left")
    return _finish(figure, axes, "step", styles, ("lines",))


def classes(series: Series, title: str) -> Figure:
    """Recall and precision of each class on the test set at the end, classes ordered by their labels."""
    counts = _counts(series)
    order = np.argsort(-counts, kind="stable")
    figure, axes = _panels(2, title, height=1.9)
    styles = _styles(series)
    for name, trials in series.items():
        matrices = [trial.confusion()[-WINDOW:].sum(0).astype(float) for trial in trials if trial.rows]
        if not matrices:
            continue
        recall = [_share(np.diag(m), m.sum(1)) for m in matrices]
        precision = [_share(np.diag(m), m.sum(0)) for m in matrices]
        for axis, values in zip(axes, (recall, precision), strict=True):
            _points(axis, 100 * np.array(values)[:, order], name, styles)
    for axis, label in zip(axes, ("recall (%)", "precision (%)"), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(-3, 103)
        _class_axis(axis, counts[order], order)
    return _finish(figure, axes, "class, by number of labels (below)", styles, ("markers",))


def confusion(series: Series, title: str) -> Figure:
    """Row-normalised confusion matrices on the test set, the last evaluations and all seeds together."""
    shown = {name: [t for t in trials if t.rows] for name, trials in series.items()}
    shown = {name: trials for name, trials in shown.items() if trials}
    if not shown:
        raise NotOnRecord("no evaluation yet")
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(COLUMN_WIDTH, 0.7 + 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (name, trials) in zip(axes.flat, shown.items(), strict=False):
        matrix = sum(trial.confusion()[-WINDOW:].sum(0) for trial in trials).astype(float)
        shares = 100 * _share(matrix.T, matrix.sum(1)).T
        image = axis.imshow(shares, cmap="cividis", vmin=0, vmax=100)
        axis.set_title(name, loc="left")
        axis.spines[:].set_visible(False)
        axis.grid(False)
        for which in (axis.xaxis, axis.yaxis):
            which.set_major_locator(MaxNLocator(10, integer=True))
        axis.set_xlabel("predicted")
    for axis in axes[:, 0]:
        axis.set_ylabel("true class")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    bar = figure.colorbar(image, ax=axes, location="bottom", label="share of the true class (%)", shrink=0.7, aspect=30)
    bar.outline.set_visible(False)
    figure.suptitle(title, fontsize=8)
    return figure


def prior(series: Series, title: str) -> Figure:
    """Estimated class prior against the true one of the unlabeled images: at the end, and how far over training."""
    series = _unlabeled_methods(series)
    known = [t.provenance.get("unlabeled_counts") for trials in series.values() for t in trials]
    truth = next((np.array(counts, dtype=float) for counts in known if counts and sum(counts)), None)
    if truth is None:
        raise NotOnRecord("the classes of the unlabeled images are unknown")
    truth /= truth.sum()
    order = np.argsort(-_counts(series), kind="stable")
    figure, axes = _panels(2, title, height=1.9)
    styles = _styles(series)
    axes[0].step(
        np.arange(len(order)),
        100 * truth[order],
        where="mid",
        color=matplotlib.rcParams["text.color"],
        lw=1,
        label="truth",
    )
    for name, trials in series.items():
        estimates = [trial.history["class_prior"] for trial in trials]
        final = np.array([e[-WINDOW:].mean(0) for e in estimates])
        _points(axes[0], 100 * final[:, order], name, styles)
        _band(axes[1], trials, lambda t: 50 * np.abs(t.history["class_prior"] - truth).sum(1), styles[name])
    axes[0].set_ylabel("class prior (%)")
    _class_axis(axes[0], _counts(series)[order], order)
    axes[0].set_xlabel("class, by number of labels (below)")
    axes[1].set_ylabel("distance to truth (%)")
    axes[1].set_title("total variation distance", loc="left")
    return _finish(figure, axes, "step", styles, ("lines", "markers"))


def thresholds(series: Series, title: str) -> Figure:
    """Threshold of pseudo-labels per class at the end, and share of pseudo-labels kept over training."""
    series = _unlabeled_methods(series)
    counts = _counts(series)
    order = np.argsort(-counts, kind="stable")
    figure, axes = _panels(2, title, height=1.9)
    styles = _styles(series)
    for name, trials in series.items():
        final = np.array([_threshold(trial)[-WINDOW:].mean(0) for trial in trials])
        _points(axes[0], final[:, order], name, styles)
        _band(axes[1], trials, lambda trial: 100 * trial.history["mask_ratio"], styles[name])
    axes[0].set_ylabel("threshold")
    _class_axis(axes[0], counts[order], order)
    axes[0].set_xlabel("class, by number of labels (below)")
    axes[1].set_ylabel("pseudo-labels kept (%)")
    return _finish(figure, axes, "step", styles, ("lines", "markers"))


def pseudo_labels(series: Series, title: str) -> Figure:
    """Kept pseudo-labels per class at the end, and their precision for head and tail classes over training."""
    series = _unlabeled_methods(series)
    recorded = {n: [t for t in trials if t.history["pseudo_kept"].shape[1]] for n, trials in series.items()}
    series = {name: trials for name, trials in recorded.items() if trials}
    if not series:
        raise NotOnRecord("kept and correct pseudo-labels per class (pseudo_kept, pseudo_correct) are not on record")
    counts = _counts(series)
    order = np.argsort(-counts, kind="stable")
    parts = _head_tail(counts)
    figure, axes = _panels(3, title, height=1.75)
    styles = _styles(series)
    for name, trials in series.items():
        kept = np.array([trial.history["pseudo_kept"][-WINDOW:].sum(0) for trial in trials])
        _points(axes[0], 100 * kept[:, order] / np.maximum(kept.sum(1, keepdims=True), 1), name, styles)
        for axis, members in zip(axes[1:], parts.values(), strict=True):
            _band(axis, trials, lambda trial, c=members: 100 * _precision(trial, c), styles[name])
    axes[0].set_ylabel("share of kept (%)")
    axes[0].set_ylim(bottom=0)
    _class_axis(axes[0], counts[order], order)
    axes[0].set_xlabel("class, by number of labels (below)")
    axes[1].sharex(axes[2])  # one of them may have kept its first pseudo-label late
    for axis, (part, members) in zip(axes[1:], parts.items(), strict=True):
        axis.set_ylim(-3, 103)
        axis.set_ylabel("precision (%)")
        axis.set_title(f"pseudo-labels of {part} classes: {_class_range(members)}", loc="left")
    return _finish(figure, axes, "step", styles, ("lines", "markers"))


FIGURES: dict[str, Callable[[Series, str], Figure]] = {
    "training": training,
    "head-tail": head_and_tail,
    "classes": classes,
    "confusion": confusion,
    "prior": prior,
    "thresholds": thresholds,
    "pseudo-labels": pseudo_labels,
}


def draw(kind: str, series: Series, title: str) -> Figure:
    """One figure of ``FIGURES``.

    Raises:
        NotOnRecord: the records do not hold what it shows.
    """
    with matplotlib.rc_context(STYLE):
        return FIGURES[kind](series, title)


def draw_search(search: Search, title: str) -> Figure:
    """Candidates of a search by each searched setting: mean and ± sample std over seeds on validation images.

    Raises:
        NotOnRecord: no candidate is complete.
    """
    judged = [candidate for candidate in search.candidates if candidate.complete]
    if not judged or not search.space:
        raise NotOnRecord("no candidate is complete")
    with matplotlib.rc_context(STYLE):
        rows = -(-len(search.space) // 2)
        figure = Figure(figsize=(COLUMN_WIDTH, 0.55 + 1.3 * rows), layout="constrained")
        axes = list(figure.subplots(rows, 2, squeeze=False, sharey=True).flat)
        for axis, (key, distribution) in zip(axes, search.space.items(), strict=False):
            _slice(axis, judged, key, distribution)
        for axis in axes[len(search.space) :]:
            axis.set_visible(False)
        figure.suptitle(title, fontsize=8)
        figure.supylabel(
            search.metric.replace("valid_", "validation ").replace("gmean", "geometric mean") + " (%)", fontsize=7.5
        )
        best = Line2D([], [], color=BEST, marker="o", linestyle="none", ms=3, label="best candidate")
        incomplete, earlier = len(search.candidates) - len(judged), len(search.earlier)
        notes = [f"not drawn: {incomplete} with a trial that diverged or is not complete"] if incomplete else []
        notes += [f"not drawn: {earlier} that ran under other settings"] if earlier else []
        figure.legend(handles=[best], loc="outside lower center", title="\n".join(notes) or None, title_fontsize=7)
    return figure


def _slice(axis, judged: list[Candidate], key: str, distribution: dict | None) -> None:
    """One setting's values and the figures that came out; a choice's values stand side by side."""
    values = [candidate.params[key] for candidate in judged]
    kind = next(iter(distribution), "") if isinstance(distribution, dict) else ""
    if kind == "choice" or not all(isinstance(value, int | float) for value in values):
        offered = map(_number, distribution[kind]) if kind == "choice" else ()
        seen = sorted({*values, *offered}, key=_by_size)
        places = list(map(seen.index, values))
        axis.set_xticks(range(len(seen)), map(str, seen))
        axis.set_xlim(-0.5, len(seen) - 0.5)
    else:
        places = values
        if kind == "loguniform":
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        if kind:
            ends = (*distribution[kind], *values)
            axis.set_xlim(min(ends), max(ends))  # the whole range that was searched, up to its ends
    for rank, (place, candidate) in reversed(list(enumerate(zip(places, judged, strict=True)))):
        spread = None if np.isnan(candidate.spread) else candidate.spread
        color = BEST if rank == 0 else OTHERS
        axis.errorbar(place, np.mean(candidate.values), spread, fmt="o", ms=3, lw=0.7, color=color, clip_on=False)
    axis.set_xlabel(f"{SYMBOLS[key]} ({key})" if key in SYMBOLS else key)


def _by_size(value) -> tuple:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _number(value):
    """What a trial's settings have where YAML reads text, such as 1e-3."""
    try:
        return value if isinstance(value, bool | int) else float(value)
    except (TypeError, ValueError):
        return value


def _panels(count: int, title: str, height: float) -> tuple[Figure, list]:
    figure = Figure(figsize=(COLUMN_WIDTH, 0.45 + height * count), layout="constrained")
    axes = list(figure.subplots(count, 1))
    figure.suptitle(title, fontsize=8)
    return figure, axes


def _finish(figure: Figure, axes: Sequence, xlabel: str, styles: dict[str, dict], shown: Sequence[str]) -> Figure:
    """Label the last axis and put one legend below; ``shown``: which of "lines" and "markers" the panels use."""
    axes[-1].set_xlabel(xlabel)
    handles = [line for line in axes[0].get_lines() if not line.get_label().startswith("_")]  # such as the truth
    for name, style in styles.items():
        linestyle = style["linestyle"] if "lines" in shown else "none"
        marker = style["marker"] if "markers" in shown else None
        handles.append(Line2D([], [], color=style["color"], linestyle=linestyle, marker=marker, ms=3, label=name))
    longest = max(len(handle.get_label()) for handle in handles)
    columns = 3 if longest <= 16 else 2 if longest <= 28 else 1  # what fits a column's width
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0, handlelength=2.8)
    return figure


def _styles(series: Series) -> dict[str, dict]:
    """Colour, dashes and marker per name: the method's own, paler and dashed otherwise for further variants of it."""
    styles, seen, others = {}, {}, iter(OTHER_STYLES * len(series))
    for name, trials in series.items():
        algorithm = trials[0].config["algorithm"]
        variant = seen[algorithm] = seen.get(algorithm, -1) + 1
        color, dashes, marker = STYLES.get(algorithm) or next(others)
        if variant:
            color = _paler(color, 0.3 + 0.15 * min(variant - 1, 2))
            dashes = VARIANT_DASHES[variant % len(VARIANT_DASHES)]
            marker = VARIANT_MARKERS[variant % len(VARIANT_MARKERS)]
        styles[name] = {"color": color, "linestyle": dashes, "marker": marker}
    return styles


def _paler(color: str, white: float) -> tuple[float, ...]:
    return tuple((1 - white) * part + white for part in to_rgb(color))


def _band(axis, trials: list[Trial], values: Callable[[Trial], np.ndarray], style: dict) -> None:
    """Mean over the trials with ± sample std, up to the step that all of them have reached."""
    curves = [values(trial) for trial in trials]
    length = min(map(len, curves), default=0)
    if not length:
        return
    table = np.array([curve[:length] for curve in curves], dtype=float)
    steps = trials[0].history["step"][:length]
    mean = table.mean(0)
    axis.plot(steps, mean, color=style["color"], linestyle=style["linestyle"])
    if len(table) > 1:
        std = table.std(0, ddof=1)
        low, high = np.clip((mean - std, mean + std), 0, 100)  # all of these are percentages
        axis.fill_between(steps, low, high, color=style["color"], alpha=0.18, lw=0)


def _points(axis, values: np.ndarray, name: str, styles: dict[str, dict]) -> None:
    """One marker per class with ± sample std, the methods side by side."""
    index, count, style = list(styles).index(name), len(styles), styles[name]
    places = np.arange(values.shape[1]) + (index - (count - 1) / 2) * 0.6 / count
    spread = values.std(0, ddof=1) if len(values) > 1 else None
    size = 3.0 if values.shape[1] <= 20 else 1.5
    axis.errorbar(places, values.mean(0), spread, fmt=style["marker"], ms=size, lw=0.7, color=style["color"])


def _class_axis(axis, counts: np.ndarray, order: np.ndarray) -> None:
    """Class numbers with their labeled counts below; every tenth for many classes."""
    every = 1 if len(order) <= 12 else max(1, len(order) // 8)
    places = np.arange(0, len(order), every)
    axis.set_xticks(places, [f"{order[p]}\n({counts[p]:.0f})" for p in places])
    axis.set_xlim(-0.7, len(order) - 0.3)
    axis.grid(axis="x", visible=False)


def _counts(series: Series) -> np.ndarray:
    """Labels per class, averaged over the splits."""
    found = [t.provenance["labeled_counts"] for trials in series.values() for t in trials if t.provenance]
    if not found:
        raise NotOnRecord("the number of labels per class is not on record")
    return np.mean(found, axis=0)


def _head_tail(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The third of the classes with most labels and the third with fewest."""
    order = np.argsort(-counts, kind="stable")
    third = max(1, len(order) // 3)
    return {"head": order[:third], "tail": order[-third:]}


def _class_range(members: np.ndarray) -> str:
    names = ", ".join(str(c) for c in sorted(members)[:8])
    return f"classes {names}" + (", …" if len(members) > 8 else "")


def _class_mean(trial: Trial, column: str, members: np.ndarray) -> np.ndarray:
    return trial.history[column][:, members].mean(1)


def _precision(trial: Trial, members: np.ndarray) -> np.ndarray:
    """Correct ÷ kept pseudo-labels of these classes per evaluation; NaN where none was kept."""
    kept = trial.history["pseudo_kept"][:, members].sum(1)
    return _share(trial.history["pseudo_correct"][:, members].sum(1), kept)


def _threshold(trial: Trial) -> np.ndarray:
    """τ (p̂ / max p̂)^β per evaluation and class with CAI, τ without."""
    estimate = trial.history["class_prior"]
    tau = trial.config["confidence"]
    if trial.config["algorithm"] not in ("cai", "cap+cai", "cadr"):
        return np.full(estimate.shape, tau)
    return tau * (estimate / estimate.max(1, keepdims=True)) ** trial.config["cai_beta"]


def _unlabeled_methods(series: Series) -> Series:
    """The methods that estimate a class prior, without trials that have no evaluation yet."""
    kept = {
        name: [t for t in trials if t.rows and t.history["class_prior"].shape[1]]
        for name, trials in series.items()
        if trials and trials[0].config["algorithm"] != "supervised"
    }
    kept = {name: trials for name, trials in kept.items() if trials}
    if not kept:
        raise NotOnRecord("no method here uses unlabeled images")
    return kept


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
