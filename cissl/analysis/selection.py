"""Rules that turn a trial's evaluations into one reported figure. Every table names the rule that it used."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cissl.analysis.history import History

METRICS = {"accuracy": "accuracy", "gmean": "geometric mean of the per-class accuracies"}


@dataclass(frozen=True)
class Selection:
    """A named rule.

    Attributes:
        name: what ``--select`` calls it.
        caption: what captions call it.
        figure: takes a trial's history and a metric; gives percent, NaN where the records hold no such figure.
        window: the number of last evaluations that it averages, if it does.
        validates: whether it chooses by validation images. A trial that was trained on these has no figure.
    """

    name: str
    caption: str
    figure: Callable[[History, str], float]
    window: int | None = None
    validates: bool = False


def _last(count: int) -> Selection:
    return Selection(
        f"last{count}",
        f"mean over the last {count} evaluations of the EMA model on the test set",
        lambda history, metric: float(np.mean(history[metric][-count:])),
        window=count,
    )


def _validation_best(history: History, metric: str) -> float:
    valid = history[f"valid_{metric}"]
    if np.all(np.isnan(valid)):
        return np.nan
    return float(history[metric][np.nanargmax(valid)])  # the first of equals


def _test_oracle(history: History, metric: str) -> float:
    return float(np.nanmax(history[metric])) if np.any(~np.isnan(history[metric])) else np.nan


SELECTIONS = {
    rule.name: rule
    for rule in (
        _last(10),
        _last(20),
        Selection(
            "validation-best",
            "test figure of the evaluation that is best on the validation set",
            _validation_best,
            validates=True,
        ),
        Selection(
            "test-oracle",
            "ORACLE: best evaluation on the test set itself, an upper bound and not a result",
            _test_oracle,
        ),
    )
}
