"""Early stopping by asynchronous successive halving (ASHA; Li et al., MLSys 2020), among comparable trials.

A rung is a fraction of a trial's own training, not a number of steps. The learning rate falls over the whole training,
so that trials are comparable at equal fractions; where batch or length are searched, these are different numbers of
steps. At a rung a trial competes only with trials at the same point of the grid: on another split, data set or seed
equally good settings reach other figures.

Ray's ASHAScheduler does not fit: it counts steps for all trials alike, ranks all trials together, and forgets their
figures at the end of a run.
"""

import collections
from collections.abc import Hashable, Sequence

import numpy as np

ROUNDING = 1e-9  # tolerance of a fraction of a training


def rungs(grace: float, reduction_factor: int) -> list[float]:
    """Fractions of a training at which trials are judged, ascending, all below 1.

    Args:
        grace: the first of them; each further one is `reduction_factor` times as large.
        reduction_factor: η, at least 2.
    """
    fractions = []
    while grace < 1:
        fractions.append(grace)
        grace *= reduction_factor
    return fractions


class Halving:
    """Remembers what trials reached at each rung, and decides which trials end there.

    Args:
        fractions: the rungs, ascending.
        reduction_factor: η: one of η trials continues.
    """

    def __init__(self, fractions: Sequence[float], reduction_factor: int):
        self.fractions, self.reduction_factor = fractions, reduction_factor
        self._reached: dict[tuple[Hashable, float], dict[str, float]] = collections.defaultdict(dict)

    def falls_behind(self, rivals: Hashable, trial_id: str, fraction: float, value: float | None) -> bool:
        """Note an evaluation; whether the trial should end here.

        At a rung counts a trial's first evaluation that is at the rung or after it, and before the next rung. The
        trial falls behind if its figure is not among the best 1/η of those that others reached there before it.

        Args:
            rivals: equal for trials that can be compared.
            trial_id: the trial.
            fraction: share of its training that is done, 0 to 1.
            value: its figure, the larger the better; None if it has none, which ends no trial.
        """
        passed = [rung for rung in self.fractions if rung <= fraction + ROUNDING]
        if not passed or value is None:
            return False
        reached = self._reached[rivals, passed[-1]]
        if trial_id in reached:
            return False
        before = list(reached.values())
        reached[trial_id] = value
        if fraction >= 1 or not before:
            return False
        return bool(value < np.percentile(before, 100 * (1 - 1 / self.reduction_factor)))
