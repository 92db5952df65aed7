"""The stages of a training and the learning rate of each step."""

import dataclasses
from collections.abc import Sequence

from cissl.algorithms.contract import Stage
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.training.optim import learning_rate, scheduled


@dataclasses.dataclass(frozen=True)
class Position:
    """A step's place in the training.

    A *generation* is all training from one fresh network to the next: one stage or several.

    Attributes:
        stage: number of the step's stage, counted from 0.
        number: updates of this stage before the step.
        steps: updates of the whole stage.
        generation_number: updates of this generation before the step.
        generation_steps: updates of the whole generation.
    """

    stage: int
    number: int
    steps: int
    generation_number: int
    generation_steps: int


class Schedule:
    """Which stage each step belongs to.

    Args:
        config: the trial's settings.
        stages: the method's stages, at least one.

    Raises:
        UserError: the trial is too short: a stage would have no step.
    """

    def __init__(self, config: TrialConfig, stages: Sequence[Stage]):
        self._config = config
        self.stages = tuple(stages)
        ends = [sum(stage.share for stage in stages[: i + 1]) for i in range(len(stages))]
        self._ends = [min(config.steps, round(end * config.steps)) for end in ends[:-1]] + [config.steps]
        self._starts = [0, *self._ends[:-1]]
        if any(start == end for start, end in zip(self._starts, self._ends, strict=True)):
            raise UserError(
                f"{config.algorithm} trains in {len(stages)} stages, and {config.steps} steps do not divide into as "
                "many: train longer",
                key="train_kimg",
            )

    def at(self, step: int) -> Position:
        """The position of a step, counted from 0. The step after the last one counts to the last stage."""
        stage = next((i for i, end in enumerate(self._ends) if step < end), len(self._ends) - 1)
        start, end = self.generation(stage)
        return Position(
            stage, step - self._starts[stage], self._ends[stage] - self._starts[stage], step - start, end - start
        )

    def generation(self, stage: int) -> tuple[int, int]:
        """First step of the generation that a stage belongs to, and the step after its last one."""
        return self._span([i for i, stage in enumerate(self.stages) if stage.fresh], stage)

    def rate(self, step: int) -> float:
        """Learning rate of a step. The trial's schedule spans the stages from one restart of it to the next."""
        if not any(stage.restart_schedule for stage in self.stages[1:]):
            return learning_rate(self._config, step)
        restarts = [i for i, stage in enumerate(self.stages) if stage.restart_schedule]
        start, end = self._span(restarts, self.at(step).stage)
        return scheduled(self._config, step - start, (step - start) / (end - start))

    def _span(self, beginnings: Sequence[int], stage: int) -> tuple[int, int]:
        """First step, and step after the last, of the stages from the beginning before `stage` to the next one."""
        first = max((i for i in beginnings if i <= stage), default=0)
        last = min((i for i in beginnings if i > stage), default=len(self.stages)) - 1
        return self._starts[first], self._ends[last]
