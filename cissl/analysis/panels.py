"""Panels of figures: pairs of axes that stand one above the other, with curves over training or a point for each class.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes. Figures are
as wide as a column of a two-column paper (3.4 inches), with type of 7 to 8 points.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D

from cissl.algorithms.cards import DEFAULT_BASE
from cissl.analysis.methods import Color, Dashes, Style
from cissl.analysis.methods import styles as method_styles
from cissl.analysis.results import Trial
from cissl.analysis.series import Series
from cissl.analysis.values import FloatArray, IndexArray

COLUMN_WIDTH = 3.4  # inches
MANY = 8  # methods that share axes; more are drawn in groups
GROUPS_BESIDE = 3
VARIANT_DASHES: tuple[Dashes, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
VARIANT_MARKERS = "os^Dv"
STYLE: dict[Any, object] = {
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
FEW_CLASSES = 12  # up to so many classes, each has its name
LONGEST_NAME = 14  # characters of a class's name
CHARACTER = 0.058  # inches: width of a character of tick labels
Arrays = dict[str, list[FloatArray]]  # by method, an array for each of its trials


class NotOnRecord(ValueError):
    """The trials' records do not hold what the figure shows."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes, with curves over training or with a point for each class.

    Attributes:
        label: of the y-axis.
        values: by method, an array for each trial: (evaluations,) over steps, (C,) over classes.
        over: "steps" or "classes".
        title: above the axes.
        truth: (C,) values to compare with.
        limits: of the y-axis; either end may be None.
        percent: whether values lie between 0 and 100, so that the band of ± std ends there.
    """

    label: str
    values: Arrays
    over: str = "steps"
    title: str = ""
    truth: FloatArray | None = None
    limits: tuple[float | None, float | None] = (None, None)
    percent: bool = True

    @property
    def empty(self) -> bool:
        """Whether no value is finite."""
        return not any(np.isfinite(array).any() for arrays in self.values.values() for array in arrays)


class Classes:
    """The classes of a data set, in the order of their labels.

    Attributes:
        counts: labels of each class, (C,), averaged over the splits.
        order: (C,) indices of classes, the one with most labels first.
        names: C names, shortened; a class whose name the font cannot draw has its number instead.

    Raises:
        NotOnRecord: no trial has a record of its labels.
    """

    def __init__(self, series: Series):
        facts = [trial.provenance for trials in series.values() for trial in trials]
        found = [fact["labeled_counts"] for fact in facts if fact.get("labeled_counts")]
        if not found:
            raise NotOnRecord("the number of labels per class is not on record")
        self.counts: FloatArray = np.mean(found, axis=0)
        self.order: IndexArray = np.argsort(-self.counts, kind="stable")
        named = next((fact["class_names"] for fact in facts if fact.get("class_names")), list[str]())
        self.names = [_drawable(name) or str(k) for k, name in enumerate(named or [""] * len(self.counts))]

    def head_and_tail(self) -> dict[str, IndexArray]:
        """Indices (n,) of the third of the classes with most labels, and of the third with fewest."""
        third = max(1, len(self.order) // 3)
        return {"head": self.order[:third], "tail": self.order[-third:]}

    def words(self, members: IndexArray, room: int) -> str:
        """Names of (n,) classes, as many as the room (characters) holds."""
        return textwrap.shorten(", ".join(self.names[c] for c in sorted(members)), room, placeholder=" …")

    @property
    def every(self) -> int:
        """One class in so many has a name; each of a few classes has one."""
        return 1 if len(self.order) <= FEW_CLASSES else max(1, len(self.order) // 8)

    def shown(self) -> IndexArray:
        """Positions in ``order`` whose classes have a name, (n,)."""
        return np.arange(0, len(self.order), self.every)

    @property
    def upright(self) -> bool:
        """Whether the names are too long to stand side by side."""
        return max(len(self.names[c]) for c in self.order[self.shown()]) > 3

    def tick_labels(self) -> list[str]:
        """Names and numbers of labels of the classes that have a name."""
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


def each(series: Series, values: Callable[[Trial], FloatArray]) -> Arrays:
    """Compute (evaluations,) or (C,) values for every trial of every method."""
    return {name: [values(trial) for trial in trials] for name, trials in series.items()}


def algorithm_of(trials: Sequence[Trial]) -> str:
    """The algorithm of trials that share it."""
    return trials[0].algorithm


def fill(text: str, columns: int = 1) -> str:
    """Break text into lines that fit the width of so many columns."""
    return textwrap.fill(text, LINE * columns)


def compose(
    panels: Iterable[Panel], series: Series, title: str, classes: Classes | None = None, note: str = ""
) -> Figure:
    """A figure of the panels that are not empty, one above the other, with one legend below them.

    Args:
        series: the trials of every method that a panel shows.
        classes: for panels over classes.
        note: stands below the title.

    Raises:
        NotOnRecord: all panels are empty.
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
    figure.suptitle("\n".join(fill(line, columns) for line in (title, note) if line), fontsize=8)
    parts = figure.subfigures(rows, columns, squeeze=False).flat if len(groups) > 1 else [figure]
    first: dict[str, Axes] = {}
    for part, group in zip(parts, groups, strict=False):
        _draw(part, _part_of(panels, group), group, classes, first)
    return figure


def _groups(series: Series) -> list[Series]:
    """The methods that share axes: many lines in one panel cannot be told apart.

    FixMatch is in every group, since the others are compared with it.
    """
    if len(series) <= MANY:
        return [series]
    common = {name: trials for name, trials in series.items() if algorithm_of(trials) == DEFAULT_BASE}
    others = [name for name in series if name not in common]
    count = -(-len(others) // (MANY - 1))
    size = -(-len(others) // count)
    parts = [others[start : start + size] for start in range(0, len(others), size)]
    return [{name: series[name] for name in series if name in common or name in part} for part in parts]


def _part_of(panels: Sequence[Panel], group: Series) -> list[Panel]:
    """The panels with the values of these methods alone; those that become empty are left out."""
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
        first: by label and title of a panel, the axes that were drawn first; later ones share their scale.
    """
    if not panels:
        return
    axes = list(figure.subplots(len(panels), 1, squeeze=False).flat)
    styles = _styles(series)
    timed = [axis for axis, panel in zip(axes, panels, strict=True) if panel.over == "steps"]
    for axis, panel in zip(axes, panels, strict=True):
        if panel.over == "steps":
            axis.sharex(timed[-1])  # the first evaluation of one panel may be later than that of another
            _curves(axis, panel, series, styles)
        elif classes is not None:
            _points(axis, panel, classes, styles)
            classes.ticks(axis, named=panel is _last_of_its_run(panels, panel))
        axis.set_ylabel(panel.label)
        axis.set_title(panel.title, loc="left")
        axis.set_ylim(*panel.limits)
        _share_scale(axis, first.setdefault(f"{panel.label} {panel.title}", axis))
    if timed:
        timed[-1].set_xlabel("step")
    _legend(figure, panels, styles)


def _share_scale(axis: Axes, before: Axes) -> None:
    """Give both axes a y-axis that holds the values of both."""
    if before is not axis:
        lows, highs = zip(before.get_ylim(), axis.get_ylim(), strict=True)
        axis.sharey(before)
        axis.set_ylim(min(lows), max(highs))


def _last_of_its_run(panels: Sequence[Panel], panel: Panel) -> Panel:
    """The lowest of the neighbouring panels of the same kind; of those over classes, only the lowest has names."""
    at = panels.index(panel)
    following = next((k for k in range(at, len(panels)) if panels[k].over != panel.over), len(panels))
    return panels[following - 1]


def _legend(figure: Figure | SubFigure, panels: Sequence[Panel], styles: Mapping[str, Style]) -> None:
    labels, handles = [], []
    if any(panel.truth is not None for panel in panels):
        labels.append("truth")
        handles.append(Line2D([], [], color=matplotlib.rcParams["text.color"], lw=1, label=labels[-1]))
    over = {panel.over for panel in panels}
    for name, style in styles.items():
        dashes: Dashes = style.dashes if "steps" in over else "none"
        marker = style.marker if "classes" in over else None
        labels.append(textwrap.fill(name, LINE - 10))
        handles.append(Line2D([], [], color=style.color, linestyle=dashes, marker=marker, ms=3, label=labels[-1]))
    longest = max(map(len, labels))
    columns = 3 if longest < 16 else 2 if longest <= 28 else 1  # as many as fit the width
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0, handlelength=2.8)


def _styles(series: Series) -> dict[str, Style]:
    """The style of each label: that of its method; further variants of a method are paler and have other dashes."""
    styles: dict[str, Style] = {}
    seen: dict[str, int] = {}
    own = method_styles([algorithm_of(trials) for trials in series.values()])
    for name, trials in series.items():
        algorithm = algorithm_of(trials)
        variant = seen[algorithm] = seen.get(algorithm, -1) + 1
        style = own[algorithm]
        if variant:
            style = Style(
                _paler(style.color, 0.3 + 0.15 * min(variant - 1, 2)),
                VARIANT_DASHES[variant % len(VARIANT_DASHES)],
                VARIANT_MARKERS[variant % len(VARIANT_MARKERS)],
            )
        styles[name] = style
    return styles


def _paler(color: Color, white: float) -> Color:
    red, green, blue = ((1 - white) * part + white for part in to_rgb(color))
    return red, green, blue


def _curves(axis: Axes, panel: Panel, series: Series, styles: Mapping[str, Style]) -> None:
    """Mean over the trials with ± sample std, up to the step that all of them have reached."""
    for name, curves in panel.values.items():
        length = min(map(len, curves))
        table = np.array([curve[:length] for curve in curves], dtype=np.float64)
        steps = series[name][0].history["step"][:length]
        mean, style = table.mean(0), styles[name]
        axis.plot(steps, mean, color=style.color, linestyle=style.dashes)
        if len(table) > 1:
            std = table.std(0, ddof=1)
            low, high = np.clip((mean - std, mean + std), *((0, 100) if panel.percent else (-np.inf, np.inf)))
            axis.fill_between(steps, low, high, color=style.color, alpha=0.18, lw=0)


def _points(axis: Axes, panel: Panel, classes: Classes, styles: Mapping[str, Style]) -> None:
    """A marker for each class with ± sample std, the methods side by side."""
    if panel.truth is not None:
        places, color = np.arange(len(panel.truth)), matplotlib.rcParams["text.color"]
        axis.step(places, panel.truth[classes.order], where="mid", color=color, lw=1, label="truth")
    for index, (name, arrays) in enumerate(panel.values.items()):
        values, style = np.array(arrays)[:, classes.order], styles[name]
        beside = np.arange(values.shape[1]) + (index - (len(styles) - 1) / 2) * 0.6 / len(styles)
        spread = values.std(0, ddof=1) if len(values) > 1 else None
        size = 3.0 if values.shape[1] <= 20 else 1.5
        axis.errorbar(beside, values.mean(0), spread, fmt=style.marker, ms=size, lw=0.7, color=style.color)


def _drawable(name: str) -> str:
    """A class's name as matplotlib can show it, shortened; empty where the font lacks one of its characters."""
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    if not all(_font().get_char_index(ord(character)) for character in short):
        return ""
    return short.replace("$", r"\$")  # a dollar sign would begin a formula


@cache
def _font() -> FT2Font:
    return get_font(findfont(FontProperties(family=["sans-serif"])))
