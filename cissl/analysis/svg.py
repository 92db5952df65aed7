"""Figures as part of a page: SVG whose text is text, in the page's colours."""

import io
import re
from collections.abc import Callable
from functools import partial
from html import escape

import matplotlib
from matplotlib.figure import Figure

from cissl.analysis import figures
from cissl.analysis.curves import KINDS, SEARCH, SEARCH_CAPTION, Series
from cissl.analysis.figures import NotOnRecord
from cissl.analysis.search_tables import SearchResults

INK = "#0a0b0c"  # stands for the page's text colour in the figures, which is light in dark mode


def figure(kind: str, heading: str, series: Series) -> str:
    """One of ``KINDS`` as a ``<figure>``, or a sentence that says why there is none."""
    return _figure(kind, heading, partial(figures.draw, kind, series, ""), KINDS[kind])


def search_figure(search: SearchResults) -> str:
    """The candidates of a search, likewise."""
    return _figure(SEARCH, search.name, partial(figures.draw_search, search, ""), SEARCH_CAPTION)


def _figure(kind: str, heading: str, draw: Callable[[], Figure], caption: str) -> str:
    inked = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    style = inked | {"svg.fonttype": "none", "svg.hashsalt": f"{kind} {heading}"}  # none: text stays text
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
    """Only the ``<svg>``, as wide as its place, in the page's colours, without ids that nothing refers to."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
