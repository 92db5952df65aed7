"""A training step whose network outputs are given, for tests of methods against numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cissl.algorithms import contract, watch
from cissl.algorithms.cards import find
from cissl.algorithms.contract import Facts, Losses, Method, Outputs
from cissl.algorithms.watch import watched


class CannedDraws:
    """Random numbers that a test gives instead of drawing them.

    Args:
        values: arrays or tensors of any shape. Each call of a method gets the next one, whatever it asks for.
    """

    def __init__(self, values: Sequence[Any]):
        self._values = list(values)

    def _next(self, *_: Any) -> Tensor:
        return torch.as_tensor(self._values.pop(0))

    uniform = normal = beta = integers = permutation = bernoulli = _next


class CannedStep(contract.Step):
    """A step whose network outputs are given, for tests of a method against numbers.

    Args:
        method: made by `make_method`.
        facts: see `make_facts`.
        outputs: view → its outputs, or logits (n, C).
        targets: labels of the labeled rows, (B,) int64.
        state: the method's state; by default the initial one.
        number: updates before this one.
        stage, stage_number, stage_steps: see `cissl.algorithms.contract.Step`.
        index, labels: see `cissl.algorithms.contract.Step`.
        draws: purpose → the numbers that `random(purpose)` gives, in order.
        networks: what `network` and `teacher` return, in the order of the calls.
    """

    def __init__(
        self,
        method: Method,
        facts: Facts,
        outputs: Mapping[str, Outputs | Tensor],
        targets: Tensor,
        *,
        state: Mapping[str, Tensor] | None = None,
        number: int = 0,
        stage: int = 0,
        stage_number: int | None = None,
        stage_steps: int | None = None,
        index: Mapping[str, Tensor] | None = None,
        labels: Mapping[str, Tensor] | None = None,
        draws: Mapping[str, Sequence[Any]] | None = None,
        networks: Sequence[Outputs] = (),
    ):
        self.method, self.facts, self.targets = method, facts, targets
        self.number, self.stage = number, stage
        self.stage_number = number if stage_number is None else stage_number
        self.stage_steps = facts.steps if stage_steps is None else stage_steps
        self.index, self.labels = dict(index or {}), dict(labels or {})
        self.state = watch.State(method.state(facts) if state is None else state)
        self.next, self.shared, self.measured = watch.next_state(self.state), {}, watch.measured({})
        self._outputs = {name: out if isinstance(out, Outputs) else Outputs(out) for name, out in outputs.items()}
        self._draws, self._networks = dict(draws or {}), list(networks)

    def forward(self, *views: str, update_averages: bool = True) -> dict[str, Outputs]:
        """The given outputs of these views, with logits (n, C)."""
        return {name: self._outputs[name] for name in views}

    def view(self, name: str) -> Tensor:
        """No images, (0,): outputs do not depend on them."""
        return torch.zeros(0)

    def network(self, images: Tensor, *, update_averages: bool = True, replicated: bool = False) -> Outputs:
        """The next of the given outputs, with logits (n, C), whatever the images."""
        return self._networks.pop(0)

    def teacher(self, images: Tensor, *, batch_statistics: bool = False) -> Outputs:
        """The next of the given outputs, with logits (n, C), whatever the images."""
        return self._networks.pop(0)

    def gather(self, rows: Tensor) -> Tensor:
        """The same rows, (n, …): there is one process."""
        return rows

    def share(self, rows: Tensor) -> Tensor:
        """The same rows, (n, …): there is one process."""
        return rows

    def random(self, purpose: str) -> CannedDraws:
        """The numbers that are given for this purpose."""
        return CannedDraws(self._draws[purpose])

    def run(self) -> Losses:
        """Compute the method's losses, and its new state, which is `after`."""
        return self.method.base.losses(self)

    @property
    def after(self) -> dict[str, Tensor]:
        """The method's state after the step, by name, in shapes of its own."""
        return {**self.state, **{name: value.detach() for name, value in self.next.items()}}


def make_method(algorithm: str, **settings: Any) -> Method:
    """Make a method with these settings, and defaults for the others.

    Args:
        algorithm: such as ``fixmatch+darp``.
        settings: by key; keys with dots are written as ``**{"darp.alpha": 2}``.

    Raises:
        ValueError: the method has no such setting.
        UserError: there is no such method, or a value is refused.
    """
    recipe = find(algorithm)
    unknown = settings.keys() - recipe.fields.keys()
    if unknown:
        raise ValueError(f"{algorithm} has no setting '{min(unknown)}'")
    return watched(Method(recipe, {key: settings.get(key, field.default) for key, field in recipe.fields.items()}))


def make_facts(
    *,
    classes: int,
    labeled_counts: Sequence[int] | npt.NDArray[np.integer[Any]] | None = None,
    unlabeled: int = 1,
    labeled_too: Tensor | None = None,
    steps: int = 1,
    batch: int = 64,
    width: int = 1,
    side: int = 8,
    channels: int = 3,
    dtype: torch.dtype = torch.float32,
) -> Facts:
    """Make the facts of an invented data set.

    Args:
        classes: C.
        labeled_counts: labeled images of each class, (C,); by default one. Their labels are sorted by class.
        unlabeled: number of unlabeled images (M).
        labeled_too: which of these are labeled too, (M,) bool; by default none.
        steps: length of the training.
        batch: labeled images in a step.
        width: number of features.
        side: of the images, in pixels.
        channels: of the images.
        dtype: of the weights.
    """
    counts = torch.as_tensor([1] * classes if labeled_counts is None else labeled_counts).long()
    return Facts(
        classes=classes,
        side=side,
        channels=channels,
        width=width,
        labeled_targets=torch.repeat_interleave(torch.arange(classes), counts),
        unlabeled=unlabeled,
        labeled_too=torch.zeros(unlabeled, dtype=torch.bool) if labeled_too is None else labeled_too,
        steps=steps,
        batch=batch,
        dtype=dtype,
    )
