"""Figures as parts of an HTML page: SVG with the page's colours, whose text stays text."""

import io
import re
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from cissl.analysis import figures
from cissl.analysis.panels import NotOnRecord
from cissl.analysis.search_figure import draw_search
from cissl.analysis.search_tables import SearchResults
from cissl.analysis.series import KINDS, SEARCH, SEARCH_CAPTION, Series

INK = "#0a0b0c"  # stands for the colour of the page's text, which is light in dark mode


def figure(kind: str, heading: str, series: Series) -> str:
    """One kind of figure as ``<figure>``, or a sentence that says why it is not drawn.

    Args:
        kind: a key of `series.KINDS`.
        heading: the data setting, for readers who cannot see the figure.
    """
    return _figure(kind, heading, partial(figures.draw, kind, series, ""), KINDS[kind])


def search_figure(search: SearchResults) -> str:
    """The candidates of a search as ``<figure>``, or a sentence that says why they are not drawn."""
    return _figure(SEARCH, search.name, partial(draw_search, search, ""), SEARCH_CAPTION)


def _figure(kind: str, heading: str, draw: Callable[[], Figure], caption: str) -> str:
    inked = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    style: dict[Any, str] = inked | {"svg.fonttype": "none", "svg.hashsalt": f"{kind} {heading}"}  # text stays text
    try:
        with matplotlib.rc_context(style):
            drawing = draw()
            image = io.StringIO()
            drawing.savefig(image, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    except NotOnRecord as error:
        return f'<p class="quiet">{escape(caption)} Not drawn: {escape(str(error))}.</p>'
    svg = _inline(image.getvalue(), f"{kind}, {heading}")
    return f'<figure data-kind="{kind}">{svg}<figcaption>{escape(caption)}</figcaption></figure>'


def _inline(svg: str, label: str) -> str:
    """Only the ``<svg>``, as wide as the page allows, in the page's colours, without ids that nothing refers to."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
