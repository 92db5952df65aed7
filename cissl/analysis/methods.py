"""Names, order, colours and settings of methods in tables and figures."""

import functools
from collections.abc import Mapping
from dataclasses import Field
from typing import Any, Literal, NamedTuple

from cissl.algorithms.cards import Recipe, find
from cissl.config import FIRST_VERSION, core_fields
from cissl.errors import UserError
from cissl.plugins import is_plugin

LABELS = {  # the rows of the paper, where each addition stands below FixMatch
    "supervised": "Supervised",
    "fixmatch": "FixMatch",
    "cap": "+ CAP",
    "cai": "+ CAI",
    "cap+cai": "+ CAP + CAI",
    "cap+cadr": "+ CAP + CADR",
    "cadr": "+ CADR",
}
BASE_OF_ROWS = "FixMatch + "


Color = str | tuple[float, float, float]  # a name or hexadecimal number, or red, green and blue from 0 to 1
Dashes = Literal["-", "none"] | tuple[float, tuple[float, ...]]
"""A line style of matplotlib: a name, or (offset, lengths of strokes and gaps in points)."""


class Style(NamedTuple):
    """Colour, dashes and marker of a method in figures, as matplotlib takes them."""

    color: Color
    dashes: Dashes
    marker: str


STYLES: dict[str, Style] = {
    "supervised": Style("#7F7F7F", (0, (1, 1.2)), "s"),
    "fixmatch": Style("#0072B2", (0, (4, 1.5)), "o"),
    "cap": Style("#56B4E9", (0, (5, 1.2, 1, 1.2)), "v"),
    "cai": Style("#009E73", (0, (2, 1)), "^"),
    "cap+cai": Style("#E69F00", (0, (6, 1, 2, 1)), "D"),
    "cap+cadr": Style("#CC79A7", (0, (3, 1, 1, 1, 1, 1)), "P"),
    "cadr": Style("#D55E00", "-", "o"),
}
# For all others, in alphabetical order: darkened hues of Okabe and Ito's scheme, and hues of Tol's muted scheme.
_COLORS = (
    "#000000", "#882255", "#117733", "#332288", "#999933", "#44AA99", "#AA4499", "#DDCC77", "#661100", "#6699CC",
    "#888888", "#CC6677",
)  # fmt: skip
_DASHES: tuple[Dashes, ...] = ("-", (0, (3, 1)), (0, (6, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_MARKERS = "Xp<>*hHd8"


class Algorithm(str):
    """An algorithm's name as configs have it, such as ``fixmatch+darp``.

    Attributes:
        recorded: the title that the trial's record gives it, such as ``FixMatch + DARP``; None where it gives none.
    """

    recorded: str | None = None

    @classmethod
    def titled(cls, name: str, title: str | None) -> "Algorithm":
        """Make a name that carries the recorded title."""
        algorithm = cls(name)
        algorithm.recorded = title and " ".join(title.split())  # a row of a table is a line
        return algorithm


def label(algorithm: str) -> str:
    """The name of a method in tables: the paper's name for its own methods, the title for all others.

    An addition to FixMatch stands in the rows below FixMatch, as ``+ DARP``.
    """
    if algorithm in LABELS:
        return LABELS[algorithm]
    title = getattr(algorithm, "recorded", None) or _title(algorithm)
    return "+ " + title.removeprefix(BASE_OF_ROWS) if title.startswith(BASE_OF_ROWS) else title


def rank(algorithm: str) -> tuple[int, str]:
    """A key for `sorted`: the paper's methods in its order, then additions to FixMatch, then all others by name."""
    if algorithm in LABELS:
        return list(LABELS).index(algorithm), ""
    return len(LABELS) + (not label(algorithm).startswith("+ ")), algorithm


def styles(algorithms: list[str]) -> dict[str, Style]:
    """The style of each method of one figure: fixed for the paper's methods, different ones for the others."""
    others = sorted({a for a in algorithms if a not in STYLES})
    made = {
        algorithm: Style(
            _COLORS[i % len(_COLORS)],
            _DASHES[(i + i // len(_COLORS)) % len(_DASHES)],
            _MARKERS[i % len(_MARKERS)],
        )
        for i, algorithm in enumerate(others)
    }
    return {algorithm: STYLES.get(algorithm) or made[algorithm] for algorithm in algorithms}


@functools.cache
def takes(algorithm: str, key: str) -> bool:
    """Whether a method uses a recorded setting.

    Every record holds the settings of the first version's methods, whether its own method uses them or not.
    """
    recipe = _recipe(algorithm)
    return recipe is None or key in recipe.fields or key not in FIRST_VERSION


def settings_of(algorithm: str) -> dict[str, Field[Any]]:
    """Key → field of a method's settings.

    Of a method whose code is not installed here, only the settings that every trial has are known.
    """
    recipe = _recipe(algorithm)
    return {**core_fields(), **(recipe.fields if recipe else {})}


def last_stage(algorithm: str, settings: Mapping[str, Any], steps: int) -> int:
    """The step at which the last stage of a training begins.

    It is 0 for a training of one stage, and for a method whose code is not installed here.

    Args:
        settings: setting → value of all that decides the result.
        steps: length of the training.
    """
    recipe = _recipe(algorithm)
    return recipe.last_stage(settings, steps) if recipe else 0


def _title(algorithm: str) -> str:
    """The title on the method's card; the name of its class where its code is not installed here."""
    recipe = _recipe(algorithm)
    return recipe.title if recipe else " + ".join(part.rpartition(":")[2] for part in algorithm.split("+"))


def _recipe(algorithm: str) -> Recipe | None:
    """The method's cards; None where its code is the user's own, is not installed here, or is of another version."""
    try:
        return None if is_plugin(algorithm) else find(algorithm)
    except UserError:
        return None
