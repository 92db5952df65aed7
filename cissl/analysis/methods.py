"""What methods are called in tables and figures, in which order they stand, and how they are drawn."""

import functools
from collections.abc import Mapping
from dataclasses import Field
from typing import Any, NamedTuple

from cissl.algorithms.cards import Recipe, find
from cissl.config import FIRST_VERSION, core_fields
from cissl.errors import UserError
from cissl.plugins import is_plugin

LABELS = {  # the paper's rows, below FixMatch's
    "supervised": "Supervised",
    "fixmatch": "FixMatch",
    "cap": "+ CAP",
    "cai": "+ CAI",
    "cap+cai": "+ CAP + CAI",
    "cap+cadr": "+ CAP + CADR",
    "cadr": "+ CADR",
}
BASE_OF_ROWS = "FixMatch + "


class Style(NamedTuple):
    """Colour, dashes and marker."""

    color: str
    dashes: object
    marker: str


STYLES = {
    "supervised": Style("#7F7F7F", (0, (1, 1.2)), "s"),
    "fixmatch": Style("#0072B2", (0, (4, 1.5)), "o"),
    "cap": Style("#56B4E9", (0, (5, 1.2, 1, 1.2)), "v"),
    "cai": Style("#009E73", (0, (2, 1)), "^"),
    "cap+cai": Style("#E69F00", (0, (6, 1, 2, 1)), "D"),
    "cap+cadr": Style("#CC79A7", (0, (3, 1, 1, 1, 1, 1)), "P"),
    "cadr": Style("#D55E00", "-", "o"),
}
# For all others, in alphabetical order: hues of Okabe and Ito's that are darkened, and of Tol's muted scheme.
_COLORS = (
    "#000000", "#882255", "#117733", "#332288", "#999933", "#44AA99", "#AA4499", "#DDCC77", "#661100", "#6699CC",
    "#888888", "#CC6677",
)  # fmt: skip
_DASHES = ("-", (0, (3, 1)), (0, (6, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_MARKERS = "Xp<>*hHd8"


class Algorithm(str):
    """An algorithm's name as it stands in configs, with the title that the trial's record has for it."""

    recorded: str | None = None
    """its title"""

    @classmethod
    def titled(cls, name: str, title: str | None) -> "Algorithm":
        """The name with a title; None where the record has none."""
        algorithm = cls(name)
        algorithm.recorded = title
        return algorithm


def label(algorithm: str) -> str:
    """The name of a method in tables: the paper's for its own, and for all others their title.

    What is added to FixMatch stands below it as ``+ DARP``.
    """
    if algorithm in LABELS:
        return LABELS[algorithm]
    title = getattr(algorithm, "recorded", None) or _title(algorithm)
    return "+ " + title.removeprefix(BASE_OF_ROWS) if title.startswith(BASE_OF_ROWS) else title


def rank(algorithm: str) -> tuple[int, str]:
    """Sorts the paper's methods in its order, then FixMatch's additions, then all others, by their names."""
    if algorithm in LABELS:
        return list(LABELS).index(algorithm), ""
    return len(LABELS) + (not label(algorithm).startswith("+ ")), algorithm


def styles(algorithms: list[str]) -> dict[str, Style]:
    """A style for each method: the paper's have theirs, and the others of one figure get different ones."""
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
    """Whether a recorded value is a setting of the method's: every record has those of the first version's methods."""
    recipe = _recipe(algorithm)
    return recipe is None or key in recipe.fields or key not in FIRST_VERSION


def settings_of(algorithm: str) -> dict[str, Field]:
    """Key → field of all settings that are known of a method; of code that is not here those that all trials have."""
    recipe = _recipe(algorithm)
    return {**core_fields(), **(recipe.fields if recipe else {})}


def last_stage(algorithm: str, settings: Mapping[str, Any], steps: int) -> int:
    """The step at which the last stage of a training begins; 0 where it has one, or of code that is not here.

    Args:
        algorithm: its name in configs.
        settings: all that decide the result, with their defaults.
        steps: of the training.
    """
    recipe = _recipe(algorithm)
    return recipe.last_stage(settings, steps) if recipe else 0


def _title(algorithm: str) -> str:
    """The title on the method's card; of code that is not here, the name of its class."""
    recipe = _recipe(algorithm)
    return recipe.title if recipe else " + ".join(part.rpartition(":")[2] for part in algorithm.split("+"))


def _recipe(algorithm: str) -> Recipe | None:
    """The method's cards; None of code that is not here, or of another version."""
    try:
        return None if is_plugin(algorithm) else find(algorithm)
    except UserError:
        return None
