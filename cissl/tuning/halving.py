"""Early stopping by asynchronous successive halving (ASHA; Li et al., MLSys 2020), of trials that can be compared.

A rung is a fraction of a trial's own training, not a number of steps: where batch or length are searched, half of a
training is another number of steps for each trial, and the learning rate, which falls over the whole of it, is the same
only at the same fraction. At a rung a trial competes with those of its own point of the grid alone: with another split,
data set or seed even equally good settings reach another figure.

Ray's ASHAScheduler counts in one unit for all trials, ranks all of them together, and forgets at the end of a run.
"""

import collections
from collections.abc import Hashable, Sequence

import numpy as np

ROUNDING = 1e-9  # of a fraction


def rungs(grace: float, reduction_factor: int) -> list[float]:
    """Fractions of a training at which trials are judged: ``grace``, and from there on `reduction_factor` times as far.

    None is the whole training, at which nothing is left to be saved.
    """
    fractions = []
    while grace < 1:
        fractions.append(grace)
        grace *= reduction_factor
    return fractions


class Halving:
    """Remembers what trials reached at each rung, and tells which have fallen behind.

    Args:
        fractions: the rungs, ascending.
        reduction_factor: η: one trial out of so many goes on.
    """

    def __init__(self, fractions: Sequence[float], reduction_factor: int):
        self.fractions, self.reduction_factor = fractions, reduction_factor
        self._reached: dict[tuple[Hashable, float], dict[str, float]] = collections.defaultdict(dict)

    def falls_behind(self, rivals: Hashable, trial_id: str, fraction: float, value: float | None) -> bool:
        """Note an evaluation, and say whether the trial should end here.

        A rung counts the first evaluation from there on and before the next rung; a trial without one is passed over.
        A trial falls behind if it is not among the best 1/η of those that were there before it.

        Args:
            rivals: the same for trials that can be compared.
            trial_id: the trial.
            fraction: of its training that is done.
            value: its figure, the larger the better; None where it has none.
        """
        passed = [rung for rung in self.fractions if rung <= fraction + ROUNDING]
        if not passed or value is None:
            return False
        reached = self._reached[rivals, passed[-1]]
        if trial_id in reached:
            return False
        before = list(reached.values())
        reached[trial_id] = value
        return fraction < 1 and bool(before) and value < np.percentile(before, 100 * (1 - 1 / self.reduction_factor))
