"""One module for each method: ``run(case, dtype)`` runs the method itself and gives role → value.

Values have the case's own shapes: for arrays whose first axis is the step, an array or a list of steps; for a case that
lists its steps, a role of a step is a list with one entry for each step (None where the reference gives none), and a
role of the case is one value. ``inputs/ROLE`` is compared with an input that repeats what the method carries. A role
``X_is_zero`` is compared with X. ``LEFT_OUT`` gives the reason for each role that is not compared.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cissl.algorithms.contract import Facts, Losses, Method
from cissl.testing import CannedStep
from tests.algorithms.vectors.reader import Case


def tensor(value: Any, dtype: torch.dtype, *, gradient: bool = False) -> Tensor:
    """Floats as `dtype`, whole numbers as int64."""
    array = np.array(value)
    result = torch.from_numpy(array).to(dtype if array.dtype.kind == "f" else torch.int64)
    return result.requires_grad_() if gradient else result


def gradient(leaf: Tensor) -> Tensor:
    """The leaf's gradient, zeros where none has reached it."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def with_two_strong_views(method: Method) -> None:
    """Give a method that inherits FixMatch a second strong view, ``strong2``."""
    base = method.base
    base.strong_views = ("strong", "strong2")
    base.views = {**base.views, "strong2": base.views["strong"]}


class Collected:
    """Collects the values of step after step: role → list."""

    def __init__(self):
        self.roles: dict[str, list[Any]] = defaultdict(list)
        self._steps = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """One step's values; a role that a step lacks is None there."""
        for role, value in values.items():
            column = self.roles[role]
            column += [None] * (self._steps - len(column))
            column.append(value.detach().clone() if isinstance(value, Tensor) else value)
        self._steps += 1

    def result(self) -> dict[str, list[Any]]:
        """Role → one entry for each step."""
        return {role: column + [None] * (self._steps - len(column)) for role, column in self.roles.items()}


def loss_level_step(
    case: Case,
    t: int,
    method: Method,
    facts: Facts,
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    *,
    index: str | None = None,
    number: int | None = None,
    stage: int = 0,
) -> tuple[CannedStep, Losses, dict[str, Tensor]]:
    """Step `t` of a case that gives logits of a labeled, a weak and a strong view for each step.

    Returns:
        The step, its losses, and ``grad_x``, ``grad_weak`` and ``grad_strong``.
    """
    names = {"labeled": "logits_x", "weak": "logits_weak", "strong": "logits_strong"}
    leaves = {view: tensor(case.inputs[role][t], dtype, gradient=True) for view, role in names.items()}
    positions = {} if index is None else {"unlabeled": tensor(case.inputs[index][t], dtype)}
    targets = tensor(case.inputs["targets"][t], dtype)
    number = t if number is None else number
    step = CannedStep(method, facts, leaves, targets, state=state, number=number, stage=stage, index=positions)
    losses = step.run()
    losses.total.backward()
    grads = {"grad_x": "labeled", "grad_weak": "weak", "grad_strong": "strong"}
    return step, losses, {role: gradient(leaves[view]) for role, view in grads.items()}
