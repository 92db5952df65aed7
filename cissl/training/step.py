"""The step that the contract promises to methods, made of a learner's network and a batch."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from cissl.algorithms import contract, watch
from cissl.algorithms.contract import Outputs
from cissl.models.layers import single_process
from cissl.training.distributed import gather_rows, own_rows
from cissl.training.randomness import StepDraws

if TYPE_CHECKING:
    from cissl.training.learner import Learner

Raw = tuple[Tensor, Tensor, dict[str, Tensor]]  # logits, features and heads of this worker's rows


class TrainingStep(contract.Step):
    """See `cissl.algorithms.contract.Step`.

    Args:
        learner: gives the network, the method and its state.
        number: see the contract.
        stage, stage_number, stage_steps: see the contract.
        views: this worker's images by the views' names, (rows, channels, H, W) float.
        targets: labels of the global labeled batch.
        index: positions of the global rows by stream.
        labels: labels of the global rows of further streams.
        trial_step: updates made before, over all generations of the trial; random numbers depend on it. By default
            `number`, as in the first generation.
    """

    def __init__(
        self,
        learner: "Learner",
        number: int,
        views: Mapping[str, Tensor],
        targets: Tensor,
        *,
        index: Mapping[str, Tensor] | None = None,
        labels: Mapping[str, Tensor] | None = None,
        stage: int = 0,
        stage_number: int | None = None,
        stage_steps: int | None = None,
        trial_step: int | None = None,
    ):
        self.number, self.stage = number, stage
        self.stage_number = number if stage_number is None else stage_number
        self.stage_steps = learner.facts.steps if stage_steps is None else stage_steps
        self.facts, self.method = learner.facts, learner.method
        self.targets, self.index, self.labels = targets, index or {}, labels or {}
        self.state, self.next = watch.State(learner.state), watch.next_state(learner.state)
        self.shared, self.measured = {}, watch.measured(learner.measured_shapes)
        self._learner, self._views = learner, views
        self.trial_step = number if trial_step is None else trial_step

    def forward(self, *views: str, update_averages: bool = True) -> dict[str, Outputs]:
        parts = [self._views[name] for name in views]
        sizes = [len(part) for part in parts]
        logits, features, heads = self._learner.train_forward(parts, update_averages=update_averages)
        return {
            name: _outputs(
                logits.split(sizes)[i], features.split(sizes)[i], {key: h.split(sizes)[i] for key, h in heads.items()}
            )
            for i, name in enumerate(views)
        }

    def view(self, name: str) -> Tensor:
        return self._views[name]

    def network(self, images: Tensor, *, update_averages: bool = True, replicated: bool = False) -> Outputs:
        if not replicated:
            return _outputs(*self._learner.train_forward([images], update_averages=update_averages))
        with single_process(self._learner.model):
            return Outputs(*self._learner.train_forward([images], update_averages=update_averages))

    def teacher(self, images: Tensor, *, batch_statistics: bool = False) -> Outputs:
        return _outputs(*self._learner.average_forward(images, batch_statistics=batch_statistics))

    def gather(self, rows: Tensor) -> Tensor:
        return gather_rows(rows)

    def share(self, rows: Tensor) -> Tensor:
        return rows[own_rows()]

    def random(self, purpose: str) -> StepDraws:
        facts = self.facts
        return StepDraws(self._learner.config.seed, purpose, self.trial_step, dtype=facts.dtype, device=facts.device)


def _outputs(logits: Tensor, features: Tensor, heads: Mapping[str, Tensor]) -> Outputs:
    """The global batch's outputs; features and heads are gathered when a method asks for them."""
    return Outputs(gather_rows(logits), _later(features), {name: _later(head) for name, head in heads.items()})


def _later(rows: Tensor) -> Callable[[], Tensor]:
    return lambda: gather_rows(rows)
