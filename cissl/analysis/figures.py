"""Drawings of one data setting: each takes ``{method: its trials}`` and gives a matplotlib figure.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes. Sizes are
those of a column of a two-column paper (3.4 inches), with type of 7 to 8 points.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from cissl.algorithms.cards import DEFAULT_BASE
from cissl.analysis.curves import Series
from cissl.analysis.methods import styles as method_styles
from cissl.analysis.results import THRESHOLDS, Trial
from cissl.analysis.search_tables import SearchResults, TriedCandidate
from cissl.analysis.words import SYMBOLS

COLUMN_WIDTH = 3.4  # inches
MANY = 8  # methods that share axes; more are drawn in groups
GROUPS_BESIDE = 3
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
LINE = 54  # characters of a title that fit a column's width
FEW_CLASSES = 12  # that many are all named
LONGEST_NAME = 14  # characters of a class's name
CHARACTER = 0.058  # inches: width of one in the size of tick labels


class NotOnRecord(ValueError):
    """The trials' records do not hold what the figure shows."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes, with curves over training or with one point per class.

    Attributes:
        values: by method one array per trial: a figure per evaluation, or per class.
        over: "steps" or "classes".
        truth: a figure per class to compare with.
        limits: of the y-axis; either end may be None.
        percent: whether the values are percentages, which no deviation leads beyond.
    """

    label: str
    values: dict[str, list[np.ndarray]]
    over: str = "steps"
    title: str = ""
    truth: np.ndarray | None = None
    limits: tuple[float | None, float | None] = (None, None)
    percent: bool = True

    @property
    def empty(self) -> bool:
        return not any(np.isfinite(array).any() for arrays in self.values.values() for array in arrays)


class Classes:
    """The classes of a data set, in the order of their labels.

    Attributes:
        counts: labels per class, averaged over the splits.
        order: classes, the one with most labels first.
        names: as short as a figure needs them; a class whose name the font cannot draw has its number.
    """

    def __init__(self, series: Series):
        facts = [trial.provenance for trials in series.values() for trial in trials]
        found = [fact["labeled_counts"] for fact in facts if fact.get("labeled_counts")]
        if not found:
            raise NotOnRecord("the number of labels per class is not on record")
        self.counts = np.mean(found, axis=0)
        self.order = np.argsort(-self.counts, kind="stable")
        named = next((fact["class_names"] for fact in facts if fact.get("class_names")), [])
        self.names = [_drawable(name) or str(k) for k, name in enumerate(named or [""] * len(self.counts))]

    def head_and_tail(self) -> dict[str, np.ndarray]:
        """The third of the classes with most labels and the third with fewest."""
        third = max(1, len(self.order) // 3)
        return {"head": self.order[:third], "tail": self.order[-third:]}

    def words(self, members: np.ndarray, room: int) -> str:
        """Names of some classes, as many as the room (characters) holds."""
        return textwrap.shorten(", ".join(self.names[c] for c in sorted(members)), room, placeholder=" …")

    @property
    def every(self) -> int:
        """How many classes one name stands for: each of a few has its own."""
        return 1 if len(self.order) <= FEW_CLASSES else max(1, len(self.order) // 8)

    def shown(self) -> np.ndarray:
        """Places, in the order of labels, that get a name."""
        return np.arange(0, len(self.order), self.every)

    @property
    def upright(self) -> bool:
        """Whether the names are too long to stand side by side."""
        return max(len(self.names[c]) for c in self.order[self.shown()]) > 3

    def tick_labels(self) -> list[str]:
        """Names and numbers of labels of the classes that are shown."""
        between = " " if self.upright else "\n"
        return [f"{self.names[c]}{between}({self.counts[c]:.0f})" for c in self.order[self.shown()]]

    def height(self) -> float:
        """Inches that the names need below their axis."""
        return CHARACTER * max(map(len, self.tick_labels())) if self.upright else 0.2

    def ticks(self, axis: Axes, *, named: bool) -> None:
        """Mark the classes along the x-axis, with or without names."""
        axis.set_xticks(self.shown(), self.tick_labels() if named else [], rotation=90 * self.upright)
        axis.set_xlim(-0.7, len(self.order) - 0.3)
        axis.grid(axis="x", visible=False)
        if named:
            axis.set_xlabel("class (number of labels)")

    def tick_both(self, axis: Axes, *, below: bool, beside: bool) -> None:
        """Mark the classes, in their own order, along both axes of a confusion matrix; with names where asked for."""
        places = range(0, len(self.names), self.every)
        names = [self.names[place] for place in places]
        axis.set_xticks(places, names if below else [], rotation=90 * (max(map(len, names)) > 1))
        axis.set_yticks(places, names if beside else [])
        axis.set_xlabel("predicted" if below else "")
        axis.set_ylabel("true class" if beside else "")


def training(series: Series, title: str) -> Figure:
    """Accuracy and geometric mean over training."""
    labels = {"accuracy": "accuracy (%)", "gmean": "geometric mean (%)"}
    panels = [
        Panel(label, _each(series, lambda trial, metric=metric: trial.history[metric]))
        for metric, label in labels.items()
    ]
    return _compose(panels, series, title)


def head_and_tail(series: Series, title: str) -> Figure:
    """Accuracy of the classes with most and with fewest labels."""
    classes = Classes(series)
    panels = [
        Panel(
            "accuracy (%)",
            _each(series, lambda trial, c=members: _class_mean(trial.history["per_class"], c)),
            title=f"{part} classes: {classes.words(members, 42)}",
        )
        for part, members in classes.head_and_tail().items()
    ]
    return _compose(panels, series, title)


def classes(series: Series, title: str) -> Figure:
    """Recall and precision per class."""
    classes = Classes(series)
    matrices = _each(series, lambda trial: _confusion(trial)[-WINDOW:].sum(0).astype(float))
    recall = {name: [100 * _share(np.diag(m), m.sum(1)) for m in found] for name, found in matrices.items()}
    precision = {name: [100 * _share(np.diag(m), m.sum(0)) for m in found] for name, found in matrices.items()}
    panels = [
        Panel(label, values, over="classes", limits=(-3, 103))
        for label, values in (("recall (%)", recall), ("precision (%)", precision))
    ]
    return _compose(panels, series, title, classes)


def confusion(series: Series, title: str) -> Figure:
    """Row-normalised confusion matrices."""
    matrices = _each(series, lambda trial: _confusion(trial)[-WINDOW:].sum(0).astype(float))
    shown = {name: sum(found) for name, found in matrices.items() if np.any(found)}
    if not shown:
        raise NotOnRecord("there is no evaluation yet")
    classes = Classes(series)
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    size = (COLUMN_WIDTH, 1.2 + classes.height() + (1.5 if columns > 1 else 2.2) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat[len(shown) :]:
        axis.remove()
    for place, (name, matrix) in enumerate(shown.items()):
        axis = grid.flat[place]
        image = axis.imshow(100 * _share(matrix.T, matrix.sum(1)).T, cmap="cividis", vmin=0, vmax=100)
        axis.set_title(name if columns == 1 or len(name) <= 18 else _over_two_lines(name), loc="left")
        axis.spines[:].set_visible(False)
        axis.grid(False)
        classes.tick_both(axis, below=place + columns >= len(shown), beside=place % columns == 0)
    label = "share of the true class (%)"
    bar = figure.colorbar(image, ax=figure.axes, location="bottom", label=label, shrink=0.7, aspect=30)
    bar.outline.set_visible(False)
    figure.suptitle(_fill(title), fontsize=8)
    return figure


def prior(series: Series, title: str) -> Figure:
    """Estimated class prior, and its distance from the true one where the class of every unlabeled image is known."""
    everything, series = series, _unlabeled_methods(series)
    classes = Classes(series)
    trials = [trial for found in series.values() for trial in found]
    truths = {id(trial): _true_prior(trial) for trial in trials}
    known = all(truth is not None for truth in truths.values())
    final = _each(series, lambda trial: 100 * trial.history["class_prior"][-WINDOW:].mean(0))
    truth = 100 * np.mean([truths[id(trial)] for trial in trials], axis=0) if known else None
    panels = [Panel("class prior (%)", final, over="classes", truth=truth)]
    if known:
        distance = _each(series, lambda trial: _total_variation(trial.history["class_prior"], truths[id(trial)]))
        panels.append(Panel("distance to truth (%)", distance, title="total variation distance"))
    notes = ["" if known else f"the truth is not known: {_known(trials)}", _without("class prior", everything, series)]
    return _compose(panels, series, title, classes, note="; ".join(filter(None, notes)))


def thresholds(series: Series, title: str) -> Figure:
    """Threshold of pseudo-labels per class, and share of pseudo-labels kept."""
    everything = series
    kept = {n: [t for t in trials if t.history[THRESHOLDS].shape[1]] for n, trials in series.items()}
    series = {name: trials for name, trials in kept.items() if trials and _algorithm(trials) != "supervised"}
    if not series:
        raise NotOnRecord("no method here has thresholds for unlabeled images on record")
    final = _each(series, lambda trial: trial.history[THRESHOLDS][-WINDOW:].mean(0))
    kept = _each(series, lambda trial: 100 * trial.history["mask_ratio"])
    panels = [Panel("threshold", final, over="classes"), Panel("pseudo-labels kept (%)", kept)]
    note = _without("threshold", everything, series)
    return _compose(panels, series, title, Classes(series), note=note)


def measured(series: Series, title: str) -> Figure:
    """What methods measured of themselves: numbers over training, values per class at the end; thresholds apart."""
    classes = Classes(series)
    names = sorted({name for trials in series.values() for trial in trials for name in trial.measured} - {"thresholds"})
    panels = {name: _measured_panel(series, name, len(classes.order)) for name in names}
    drawn = sorted(filter(None, panels.values()), key=lambda panel: panel.over)  # those over classes stand together
    if not drawn:
        raise NotOnRecord("no method here has measured anything but thresholds")
    others = [name for name, panel in panels.items() if panel is None]
    shown = {name: trials for name, trials in series.items() if any(name in panel.values for panel in drawn)}
    note = f"neither numbers nor per class: {', '.join(others)}" if others else ""
    return _compose(drawn, shown, title, classes, note=note)


def _measured_panel(series: Series, name: str, classes: int) -> Panel | None:
    """One thing that some methods measured; None where it is neither a number nor one value per class."""
    values = {n: [t.measured[name] for t in trials if name in t.measured] for n, trials in series.items()}
    values = {n: arrays for n, arrays in values.items() if arrays}
    shapes = {array.shape[1:] for arrays in values.values() for array in arrays}
    if shapes == {()}:
        return Panel(name, values, percent=False)
    if shapes != {(classes,)}:
        return None
    return Panel(name, {n: [array[-WINDOW:].mean(0) for array in found] for n, found in values.items()}, over="classes")


def pseudo_labels(series: Series, title: str) -> Figure:
    """Kept pseudo-labels per class, and their precision, on the images whose class is known."""
    everything, series = series, _unlabeled_methods(series)
    recorded = {n: [t for t in trials if t.history["pseudo_kept"].shape[1]] for n, trials in series.items()}
    series = {name: trials for name, trials in recorded.items() if trials}
    if not series:
        raise NotOnRecord("kept and correct pseudo-labels per class (pseudo_kept, pseudo_correct) are not on record")
    trials = [trial for found in series.values() for trial in found]
    if not all(map(_can_be_judged, trials)):
        raise NotOnRecord(f"whether pseudo-labels are right is not known: {_known(trials)}")
    classes = Classes(series)
    kept = {n: [t.history["pseudo_kept"][-WINDOW:].sum(0) for t in trials] for n, trials in series.items()}
    share = {name: [100 * _share(counts, counts.sum()) for counts in found] for name, found in kept.items()}
    panels = [Panel("share of kept (%)", share, over="classes")]
    for part, members in classes.head_and_tail().items():
        precision = _each(series, lambda trial, c=members: 100 * _precision(trial, c))
        heading = f"{part} classes: {classes.words(members, 42)}"
        panels.append(Panel("precision (%)", precision, title=heading, limits=(-3, 103)))
    partly = any(_true_prior(trial) is None for trial in trials)
    notes = [f"only what is known: {_known(trials)}" if partly else "", _without("class prior", everything, series)]
    return _compose(panels, series, title, classes, note="; ".join(filter(None, notes)))


FIGURES: dict[str, Callable[[Series, str], Figure]] = {
    "training": training,
    "head-tail": head_and_tail,
    "classes": classes,
    "confusion": confusion,
    "prior": prior,
    "thresholds": thresholds,
    "pseudo-labels": pseudo_labels,
    "measured": measured,
}


def draw(kind: str, series: Series, title: str) -> Figure:
    """One figure of ``FIGURES``.

    Raises:
        NotOnRecord: the records do not hold what it shows.
    """
    series = {name: [trial for trial in trials if trial.rows] for name, trials in series.items()}
    series = {name: trials for name, trials in series.items() if trials}
    numbers = {trial.provenance.get("classes") for trials in series.values() for trial in trials} - {None}
    if kind != "training" and len(numbers) > 1:
        words = " and ".join(map(str, sorted(numbers)))
        raise NotOnRecord(f"the trials' data have different numbers of classes: {words}")
    with matplotlib.rc_context(STYLE):
        return FIGURES[kind](series, title)


def draw_search(search: SearchResults, title: str) -> Figure:
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
        figure.suptitle(_fill(title), fontsize=8)
        figure.supylabel(
            search.metric.replace("valid_", "validation ").replace("gmean", "geometric mean") + " (%)", fontsize=7.5
        )
        best = Line2D([], [], color=BEST, marker="o", linestyle="none", ms=3, label="best candidate")
        incomplete, earlier = len(search.candidates) - len(judged), len(search.earlier)
        notes = [f"not drawn: {incomplete} with a trial that diverged or is not complete"] if incomplete else []
        notes += [f"not drawn: {earlier} that ran under other settings"] if earlier else []
        figure.legend(handles=[best], loc="outside lower center", title="\n".join(notes) or None, title_fontsize=7)
    return figure


def _slice(axis, judged: list[TriedCandidate], key: str, distribution: dict | None) -> None:
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


def _each(series: Series, values: Callable[[Trial], np.ndarray]) -> dict[str, list[np.ndarray]]:
    return {name: [values(trial) for trial in trials] for name, trials in series.items()}


def _compose(
    panels: Iterable[Panel], series: Series, title: str, classes: Classes | None = None, note: str = ""
) -> Figure:
    """The panels that have something to show, one above the other, with one legend below them.

    Raises:
        NotOnRecord: none has.
    """
    panels = [panel for panel in panels if not panel.empty]
    if not panels:
        raise NotOnRecord("there is no figure on record yet")
    groups = _groups(series)
    columns = min(len(groups), GROUPS_BESIDE)
    rows = -(-len(groups) // columns)
    named = sum(panel.over == "classes" and panel is _last_of_its_run(panels, panel) for panel in panels)
    height = 0.6 + 1.7 * len(panels) + (classes.height() * named if classes else 0) + (len(groups) > 1)
    figure = Figure(figsize=(COLUMN_WIDTH * columns, height * rows), layout="constrained")
    figure.suptitle("\n".join(_fill(line, columns) for line in (title, note) if line), fontsize=8)
    parts = figure.subfigures(rows, columns, squeeze=False).flat if len(groups) > 1 else [figure]
    first: dict[str, Axes] = {}
    for part, group in zip(parts, groups, strict=False):
        _draw(part, _part_of(panels, group), group, classes, first)
    return figure


def _groups(series: Series) -> list[Series]:
    """The methods that share axes: many lines in one panel cannot be told apart.

    FixMatch is in every group, as what the others are compared with.
    """
    if len(series) <= MANY:
        return [series]
    common = {name: trials for name, trials in series.items() if _algorithm(trials) == DEFAULT_BASE}
    others = [name for name in series if name not in common]
    count = -(-len(others) // (MANY - 1))
    size = -(-len(others) // count)
    parts = [others[start : start + size] for start in range(0, len(others), size)]
    return [{name: series[name] for name in series if name in common or name in part} for part in parts]


def _part_of(panels: Sequence[Panel], group: Series) -> list[Panel]:
    """The panels with the values of these methods alone, without what is then empty."""
    parts = [replace(panel, values={n: v for n, v in panel.values.items() if n in group}) for panel in panels]
    return [panel for panel in parts if not panel.empty]


def _draw(
    figure: Figure | SubFigure,
    panels: Sequence[Panel],
    series: Series,
    classes: Classes | None,
    first: dict[str, Axes],
) -> None:
    """Panels one above the other and a legend below them.

    Args:
        first: by a panel's label and title the axes that were drawn first, whose scale the later ones share.
    """
    if not panels:
        return
    named = [panel.over == "classes" and panel is _last_of_its_run(panels, panel) for panel in panels]
    axes = list(figure.subplots(len(panels), 1, squeeze=False).flat)
    styles = _styles(series)
    timed = [axis for axis, panel in zip(axes, panels, strict=True) if panel.over == "steps"]
    for axis, panel, name in zip(axes, panels, named, strict=True):
        if panel.over == "steps":
            axis.sharex(timed[-1])  # one of them may have its first figure late
            _curves(axis, panel, series, styles)
        else:
            _points(axis, panel, classes, styles)
            classes.ticks(axis, named=name)
        axis.set_ylabel(panel.label)
        axis.set_title(panel.title, loc="left")
        axis.set_ylim(*panel.limits)
        before = first.setdefault(f"{panel.label} {panel.title}", axis)
        if before is not axis:
            lows, highs = zip(before.get_ylim(), axis.get_ylim(), strict=True)
            axis.sharey(before)
            axis.set_ylim(min(lows), max(highs))
    if timed:
        timed[-1].set_xlabel("step")
    _legend(figure, panels, styles)


def _last_of_its_run(panels: Sequence[Panel], panel: Panel) -> Panel:
    """The lowest of the panels over classes that this one stands in a row with; it alone names them."""
    at = panels.index(panel)
    following = next((k for k in range(at, len(panels)) if panels[k].over != panel.over), len(panels))
    return panels[following - 1]


def _legend(figure: Figure | SubFigure, panels: Sequence[Panel], styles: dict[str, dict]) -> None:
    handles = []
    if any(panel.truth is not None for panel in panels):
        handles.append(Line2D([], [], color=matplotlib.rcParams["text.color"], lw=1, label="truth"))
    over = {panel.over for panel in panels}
    for name, style in styles.items():
        linestyle = style["linestyle"] if "steps" in over else "none"
        marker = style["marker"] if "classes" in over else None
        label = textwrap.fill(name, LINE - 10)
        handles.append(Line2D([], [], color=style["color"], linestyle=linestyle, marker=marker, ms=3, label=label))
    longest = max(len(handle.get_label()) for handle in handles)
    columns = 3 if longest < 16 else 2 if longest <= 28 else 1  # what fits a column's width
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0, handlelength=2.8)


def _styles(series: Series) -> dict[str, dict]:
    """Colour, dashes and marker per name: the method's own, paler and dashed otherwise for further variants of it."""
    styles, seen = {}, {}
    own = method_styles([_algorithm(trials) for trials in series.values()])
    for name, trials in series.items():
        algorithm = _algorithm(trials)
        variant = seen[algorithm] = seen.get(algorithm, -1) + 1
        color, dashes, marker = own[algorithm]
        if variant:
            color = _paler(color, 0.3 + 0.15 * min(variant - 1, 2))
            dashes = VARIANT_DASHES[variant % len(VARIANT_DASHES)]
            marker = VARIANT_MARKERS[variant % len(VARIANT_MARKERS)]
        styles[name] = {"color": color, "linestyle": dashes, "marker": marker}
    return styles


def _paler(color: str, white: float) -> tuple[float, ...]:
    return tuple((1 - white) * part + white for part in to_rgb(color))


def _curves(axis: Axes, panel: Panel, series: Series, styles: dict[str, dict]) -> None:
    """Mean over the trials with ± sample std, up to the step that all of them have reached."""
    for name, curves in panel.values.items():
        length = min(map(len, curves))
        table = np.array([curve[:length] for curve in curves], dtype=float)
        steps = series[name][0].history["step"][:length]
        mean, color = table.mean(0), styles[name]["color"]
        axis.plot(steps, mean, color=color, linestyle=styles[name]["linestyle"])
        if len(table) > 1:
            std = table.std(0, ddof=1)
            low, high = np.clip((mean - std, mean + std), *((0, 100) if panel.percent else (-np.inf, np.inf)))
            axis.fill_between(steps, low, high, color=color, alpha=0.18, lw=0)


def _points(axis: Axes, panel: Panel, classes: Classes, styles: dict[str, dict]) -> None:
    """One marker per class with ± sample std, the methods side by side."""
    if panel.truth is not None:
        places, color = np.arange(len(panel.truth)), matplotlib.rcParams["text.color"]
        axis.step(places, panel.truth[classes.order], where="mid", color=color, lw=1, label="truth")
    for index, (name, arrays) in enumerate(panel.values.items()):
        values, style = np.array(arrays)[:, classes.order], styles[name]
        places = np.arange(values.shape[1]) + (index - (len(styles) - 1) / 2) * 0.6 / len(styles)
        spread = values.std(0, ddof=1) if len(values) > 1 else None
        size = 3.0 if values.shape[1] <= 20 else 1.5
        axis.errorbar(places, values.mean(0), spread, fmt=style["marker"], ms=size, lw=0.7, color=style["color"])


def _over_two_lines(name: str) -> str:
    """A method's name, and below it how many trials."""
    words, _, count = name.rpartition(" (")
    return f"{textwrap.shorten(words, 22, placeholder='…')}\n({count}"


def _fill(text: str, columns: int = 1) -> str:
    """Broken into lines that fit so many columns' width."""
    return textwrap.fill(text, LINE * columns)


def _drawable(name: str) -> str:
    """A class's name as matplotlib can show it, shortened; empty where the font lacks one of its characters."""
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    if not all(_font().get_char_index(ord(character)) for character in short):
        return ""
    return short.replace("$", r"\$")  # which would begin a formula


@cache
def _font():
    return get_font(findfont(FontProperties(family=["sans-serif"])))


def _algorithm(trials: list[Trial]) -> str:
    return trials[0].config["algorithm"]


def _confusion(trial: Trial) -> np.ndarray:
    try:
        return trial.confusion()
    except ValueError as error:
        raise NotOnRecord(str(error)) from None


def _class_mean(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean over these classes per evaluation, (evaluations,), without those that have no test image."""
    if not values.shape[1]:
        raise NotOnRecord("the accuracy per class is not on record")
    part = values[:, members]
    part = part[:, ~np.isnan(part).all(0)]
    return part.mean(1) if part.shape[1] else np.full(len(values), np.nan)


def _true_prior(trial: Trial) -> np.ndarray | None:
    """Class shares of the trial's unlabeled images, (C,); None unless the class of every one is known."""
    counts, size = trial.provenance.get("unlabeled_counts"), trial.provenance.get("unlabeled_size")
    if not counts or not size or sum(counts) != size:
        return None
    return np.array(counts, dtype=float) / size


def _can_be_judged(trial: Trial) -> bool:
    """Whether there are unlabeled images of known class beside the labeled ones, which are trained on."""
    facts = trial.provenance
    known = sum(facts.get("unlabeled_counts") or ())
    labeled = facts.get("unlabeled_labeled", sum(facts.get("labeled_counts") or ()))  # older records: at most these
    return known > labeled


def _known(trials: Sequence[Trial]) -> str:
    """Of how many unlabeled images the class is on record, in words."""
    facts = max((trial.provenance for trial in trials), key=_unknown)
    known, size = sum(facts.get("unlabeled_counts") or ()), facts.get("unlabeled_size", "?")
    labeled = facts.get("unlabeled_labeled")
    words = f"the class of {known} of {size} unlabeled images is on record"
    return words if labeled is None else f"{words}, {labeled} of them labeled ones"


def _unknown(facts: dict) -> int:
    return facts.get("unlabeled_size", 0) - sum(facts.get("unlabeled_counts") or ())


def _total_variation(estimates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of (evaluations, C) class shares from the true ones, in percent."""
    return 50 * np.abs(estimates - truth).sum(1)


def _precision(trial: Trial, members: np.ndarray) -> np.ndarray:
    """Correct ÷ kept pseudo-labels of these classes per evaluation; NaN where none was kept."""
    kept = trial.history["pseudo_kept"][:, members].sum(1)
    return _share(trial.history["pseudo_correct"][:, members].sum(1), kept)


def _unlabeled_methods(series: Series) -> Series:
    """The methods that estimate a class prior."""
    kept = {
        name: [trial for trial in trials if trial.history["class_prior"].shape[1]]
        for name, trials in series.items()
        if trials and _algorithm(trials) != "supervised"  # the first version recorded a prior that never moves
    }
    kept = {name: trials for name, trials in kept.items() if trials}
    if not kept:
        raise NotOnRecord("no method here estimates the classes of unlabeled images")
    return kept


def _without(what: str, series: Series, drawn: Series) -> str:
    """A note that names the methods of a setting that a figure leaves out."""
    names = [name.rpartition(" (")[0] or name for name in series if name not in drawn]
    return f"without a {what} on record: {', '.join(names)}" if names else ""


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=np.asarray(whole) > 0)
