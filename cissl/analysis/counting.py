"""Which figure a trial contributes to a table, or why it contributes none."""

import numpy as np

from cissl.analysis.results import Trial
from cissl.analysis.selection import Selection

LONGEST_ERROR = 200  # characters below a table; the report shows the whole error


def figure_of(trial: Trial, metric: str, selection: Selection) -> float:
    """The trial's figure in percent; NaN where it has none.

    Args:
        metric: a key of `selection.METRICS`.
    """
    if not trial.complete or overlaps(trial, selection):
        return np.nan
    return selection.figure(trial.history, metric)


def reason(trial: Trial, metric: str, selection: Selection) -> str:
    """Why the trial has no figure: its state, what is missing, or what would make the figure unfair."""
    status = trial.status
    if trial.complete and overlaps(trial, selection):
        labeled, size = trial.provenance["valid_labeled"], trial.provenance.get("valid_size", trial.spec["valid"])
        return f"{labeled} of its {size} validation images are labeled ones"
    if trial.complete:
        return f"has no {metric} on record"
    at = f" at step {status.get('step', '?')}/{status['steps']}" if status.get("steps") else ""
    error = (status.get("error") or "").strip().rpartition("\n")[2]
    shown = error if len(error) <= LONGEST_ERROR else f"{error[:LONGEST_ERROR]}…"
    return f"{trial.state}{at}" + (f" ({shown})" if shown else "")


def overlaps(trial: Trial, selection: Selection) -> bool:
    """Whether the selection would choose by validation images that the trial was trained on."""
    return selection.validates and trial.provenance.get("valid_labeled", 0) > 0
