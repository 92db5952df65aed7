"""`compile: true`: parts of a step as graphs of fixed shapes, without a break; and which parts can be.

A step is four graphs at most: the views and the update of CTAugment's rates, forward pass and losses, their backward
pass, the optimizer with the moving average. On a CPU, where a call costs little and a compiler some minutes, the views
and the optimizer stay as they are.
"""

import copy
import logging
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch._dynamo.exc import Unsupported

from cissl.algorithms import watch
from cissl.training.step import TrainingStep

logger = logging.getLogger(__name__)
BACKEND = "inductor"
COUNTED = ("number", "stage_number", "trial_step")  # what no two steps share: a graph that reads it fits one step alone


def graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one graph, made at its first call.

    Raises:
        torch._dynamo.exc.Unsupported: at that call, where it cannot be one.
    """
    return torch.compile(function, fullgraph=True, dynamic=False, backend=BACKEND)


def graph_where_possible(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one graph; where it cannot be one, as it is, which the log tells."""
    at_once, possible = graph(function), True

    def call(*arguments: Any) -> Any:
        nonlocal possible
        if possible:
            try:
                return at_once(*arguments)
            except Unsupported as error:  # before anything was computed
                possible = False
                reason = str(error).strip().partition("\n")[0]
                logger.warning("the losses cannot be compiled, and only the network is: %s", reason)
        return function(*arguments)

    return call


def compiles_all(device: torch.device) -> bool:
    """Whether views and optimizer become graphs too."""
    return device.type != "cpu"


def is_the_same_each_step(step: TrainingStep, losses: Callable[[TrainingStep], Any], network: nn.Module) -> bool:
    """Whether a method computes its losses without the step's number and without draws; by trying, with no trace left.

    Args:
        step: a step that has not begun.
        losses: the method's.
        network: whose buffers the try changes, and gets back.
    """
    tried = cast(_Noticing, copy.copy(step))
    tried.__class__ = _Noticing
    tried.next, tried.shared = watch.next_state(step.state), {}
    tried.measured = watch.measured({})
    tried.noticed = False
    buffers = [buffer.clone() for buffer in network.buffers()]
    losses(tried)
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return not tried.noticed


class _Noticing(TrainingStep):
    """A step that notices when its number is read; draws read it too."""

    noticed: bool

    def __getattribute__(self, name: str) -> Any:
        if name in COUNTED:
            self.noticed = True
        return super().__getattribute__(name)
