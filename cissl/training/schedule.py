"""The stages of a training and the learning rate of each step."""

import dataclasses
import math
from collections.abc import Sequence

from cissl.algorithms.contract import Stage
from cissl.config import TrialConfig
from cissl.training.optim import learning_rate


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a step stands.

    Attributes:
        stage: number of its stage.
        number: updates of this stage before it.
        steps: updates of this stage in all.
    """

    stage: int
    number: int
    steps: int


class Schedule:
    """Which stage each step belongs to.

    Args:
        config: the trial's settings.
        stages: the method's.
    """

    def __init__(self, config: TrialConfig, stages: Sequence[Stage]):
        self._config = config
        self.stages = tuple(stages)
        ends = [sum(stage.share for stage in stages[: i + 1]) for i in range(len(stages))]
        self._ends = [min(config.steps, round(end * config.steps)) for end in ends[:-1]] + [config.steps]
        self._starts = [0, *self._ends[:-1]]

    def at(self, step: int) -> Position:
        """The position of a step, which is counted from 0; of the last step's successor, that of the last stage."""
        stage = next((i for i, end in enumerate(self._ends) if step < end), len(self._ends) - 1)
        return Position(stage, step - self._starts[stage], self._ends[stage] - self._starts[stage])

    def rate(self, step: int) -> float:
        """Learning rate of a step: the trial's schedule, over the stages from one restart to the next."""
        if not any(stage.restart_schedule for stage in self.stages[1:]):
            return learning_rate(self._config, step)
        here = self.at(step).stage
        begins = [i for i, stage in enumerate(self.stages) if i == 0 or stage.restart_schedule]
        first = max(i for i in begins if i <= here)
        following = min((i for i in begins if i > here), default=len(self.stages))
        start, end = self._starts[first], self._ends[following - 1]
        return self._config.lr * math.cos(7 * math.pi / 16 * (step - start) / max(end - start, 1))
