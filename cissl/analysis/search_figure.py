"""The figure of a hyper-parameter search: its candidates by each searched setting."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from cissl.analysis.panels import COLUMN_WIDTH, STYLE, NotOnRecord, fill
from cissl.analysis.search_tables import SearchResults, TriedCandidate
from cissl.analysis.sweep_folder import Distribution
from cissl.analysis.values import Value
from cissl.analysis.words import SYMBOLS

BEST, OTHERS = "#D55E00", "#0072B2"  # colours of candidates


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
            _slice(axis, judged, key, distribution or {})
        for axis in axes[len(search.space) :]:
            axis.set_visible(False)
        figure.suptitle(fill(title), fontsize=8)
        metric = search.metric.replace("valid_", "validation ").replace("gmean", "geometric mean")
        figure.supylabel(f"{metric} (%)", fontsize=7.5)
        best = Line2D([], [], color=BEST, marker="o", linestyle="none", ms=3, label="best candidate")
        notes = "\n".join(_notes(search, len(judged))) or None
        figure.legend(handles=[best], loc="outside lower center", title=notes, title_fontsize=7)
    return figure


def _notes(search: SearchResults, drawn: int) -> list[str]:
    """How many candidates the figure leaves out, and why."""
    incomplete, earlier = len(search.candidates) - drawn, len(search.earlier)
    notes = [f"not drawn: {incomplete} with a trial that diverged or is not complete"] if incomplete else []
    return notes + ([f"not drawn: {earlier} that ran under other settings"] if earlier else [])


def _slice(axis: Axes, judged: Sequence[TriedCandidate], key: str, distribution: Distribution) -> None:
    """The figures of the candidates over the values of one setting.

    Args:
        judged: complete candidates, best first.
        distribution: empty where it is not known.
    """
    values = [candidate.params[key] for candidate in judged]
    kind = next(iter(distribution), "")
    numbers = [value for value in values if isinstance(value, int | float)]
    if kind == "choice" or len(numbers) < len(values):
        places: Sequence[float] = _place_side_by_side(axis, values, distribution.get("choice", []))
    else:
        places = numbers
        _scale(axis, kind, [*distribution.get(kind, []), *numbers])
    for rank, (place, candidate) in reversed(list(enumerate(zip(places, judged, strict=True)))):
        spread = None if np.isnan(candidate.spread) else candidate.spread
        color = BEST if rank == 0 else OTHERS
        axis.errorbar(place, np.mean(candidate.values), spread, fmt="o", ms=3, lw=0.7, color=color, clip_on=False)
    axis.set_xlabel(f"{SYMBOLS[key]} ({key})" if key in SYMBOLS else key)


def _place_side_by_side(axis: Axes, values: Sequence[Value], offered: Sequence[Any]) -> list[int]:
    """Give each value of a choice a place on the x-axis; returns the places of the candidates' values."""
    seen = sorted({*values, *map(_as_recorded, offered)}, key=_by_size)
    axis.set_xticks(range(len(seen)), list(map(str, seen)))
    axis.set_xlim(-0.5, len(seen) - 0.5)
    return list(map(seen.index, values))


def _scale(axis: Axes, kind: str, ends: Sequence[float]) -> None:
    """Show the whole range that was searched, if it is known."""
    if kind == "loguniform":
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    if kind:
        axis.set_xlim(min(ends), max(ends))


def _by_size(value: Value) -> tuple[int, float, str]:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _as_recorded(value: Any) -> Value:
    """The value as a trial's settings have it: YAML reads some numbers, such as 1e-3, as text."""
    try:
        return value if isinstance(value, bool | int) else float(value)
    except (TypeError, ValueError):
        return value if isinstance(value, str | None) else repr(value)
