"""The step that the contract promises to methods, made of a learner's network and a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cissl.algorithms import contract, watch
from cissl.algorithms.contract import Facts, Method, Outputs
from cissl.config import TrialConfig
from cissl.models.layers import Classifier, single_process
from cissl.training.distributed import gather_rows, own_rows
from cissl.training.randomness import StepDraws

Raw = tuple[Tensor, Tensor, dict[str, Tensor]]  # logits, features and heads of this worker's rows


class Networks(Protocol):
    """What a step uses of the learner that it is made for; see `cissl.training.learner.Learner`."""

    config: TrialConfig
    facts: Facts
    method: Method
    model: Classifier
    state: dict[str, Tensor]
    measured_shapes: dict[str, torch.Size]

    def train_forward(self, parts: Sequence[Tensor], *, update_averages: bool = True) -> Raw:
        """The trained network on this worker's images, each part (rows, channels, H, W), with gradient."""

    def average_forward(self, images: Tensor, *, batch_statistics: bool = False) -> Raw:
        """The averaged network on this worker's images (rows, channels, H, W), without gradient."""


class TrainingStep(contract.Step):
    """One step of training with a learner's network; see `cissl.algorithms.contract.Step`.

    Args:
        learner: gives the network, the method and its state.
        number: updates made before this step in its generation.
        views: name of a view → this worker's images, (rows, channels, H, W) float.
        targets: labels of the global labeled batch, (B,) int64.
        index: stream → positions of the global rows in its pool, (rows,) int64.
        labels: stream → labels of the global rows, (rows,) int64; of streams of labeled images.
        stage: number of the stage.
        stage_number: updates made before in this stage; by default `number`.
        stage_steps: updates of the whole stage; by default those that the learner's facts have.
        trial_step: updates made before in the trial, over all generations; random numbers depend on it. By default
            `number`, as in the first generation.
    """

    def __init__(
        self,
        learner: Networks,
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
        """The network's outputs for the global batch, by view; all views pass through it in one batch."""
        parts = [self._views[name] for name in views]
        sizes = [len(part) for part in parts]
        logits, features, heads = self._learner.train_forward(parts, update_averages=update_averages)
        logits_of, features_of = torch.split(logits, sizes), torch.split(features, sizes)
        heads_of = {head: torch.split(rows, sizes) for head, rows in heads.items()}
        return {
            name: _outputs(logits_of[i], features_of[i], {head: parts[i] for head, parts in heads_of.items()})
            for i, name in enumerate(views)
        }

    def view(self, name: str) -> Tensor:
        """This worker's images of a view, (rows, channels, H, W) float."""
        return self._views[name]

    def network(self, images: Tensor, *, update_averages: bool = True, replicated: bool = False) -> Outputs:
        """The trained network on images (rows, channels, H, W) that the method made; see the contract."""
        if not replicated:
            return _outputs(*self._learner.train_forward([images], update_averages=update_averages))
        with single_process(self._learner.model):
            return Outputs(*self._learner.train_forward([images], update_averages=update_averages))

    def teacher(self, images: Tensor, *, batch_statistics: bool = False) -> Outputs:
        """The averaged network on this worker's images (rows, channels, H, W), without gradient."""
        return _outputs(*self._learner.average_forward(images, batch_statistics=batch_statistics))

    def gather(self, rows: Tensor) -> Tensor:
        """The global batch (all rows, …) from every worker's rows (rows, …), with gradient."""
        return gather_rows(rows)

    def share(self, rows: Tensor) -> Tensor:
        """This worker's rows (rows, …) of a global batch (all rows, …)."""
        return rows[own_rows()]

    def random(self, purpose: str) -> StepDraws:
        """Random numbers for a purpose at this step, the same on every worker."""
        facts = self.facts
        return StepDraws(self._learner.config.seed, purpose, self.trial_step, dtype=facts.dtype, device=facts.device)


def _outputs(logits: Tensor, features: Tensor, heads: Mapping[str, Tensor]) -> Outputs:
    """The global batch's outputs; features and heads are gathered when a method asks for them."""
    return Outputs(gather_rows(logits), _later(features), {name: _later(head) for name, head in heads.items()})


def _later(rows: Tensor) -> Callable[[], Tensor]:
    return lambda: gather_rows(rows)
