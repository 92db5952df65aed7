"""Learning-rate schedule, optimizer and the weights' moving average, as in the reference."""

import copy
import inspect
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from cissl.config import KIMG, TrialConfig
from cissl.models.backbones import decayed_kernels
from cissl.training.graphs import compiles_all

MOMENTUM = 0.9

Network = TypeVar("Network", bound=nn.Module)


def learning_rate(config: TrialConfig, step: int) -> float:
    """The learning rate of a step, as if the whole training were one schedule.

    Args:
        config: the trial's settings; by default the rate is η · cos(7π/16 · progress), FixMatch, section 2.4.
        step: optimizer updates made before, counted from 0.
    """
    return scheduled(config, step, min(1.0, step * config.batch / (config.train_kimg * KIMG)))


def scheduled(config: TrialConfig, step: int, progress: float) -> float:
    """The learning rate at a place of a schedule.

    Args:
        config: the trial's settings.
        step: optimizer updates since the schedule's beginning; the linear rise depends on them.
        progress: share of the schedule that is done, 0 to 1; the fall depends on it.
    """
    warmed = min(1.0, (step + 1) * config.batch / (config.lr_warmup_kimg * KIMG)) if config.lr_warmup_kimg else 1.0
    if config.lr_schedule == "cosine":
        return warmed * config.lr * (1 + math.cos(math.pi * progress)) / 2
    if config.lr_schedule == "constant":
        return warmed * config.lr
    return warmed * config.lr * math.cos(7 * math.pi / 16 * progress)


def make_optimizer(model: nn.Module, config: TrialConfig) -> torch.optim.Optimizer:
    """Nesterov SGD with L2 decay, or AdamW with decoupled decay; both decay kernels only."""
    kernels = decayed_kernels(model)
    decayed = {id(kernel) for kernel in kernels}
    others = [parameter for parameter in model.parameters() if id(parameter) not in decayed]
    groups = [{"params": kernels, "weight_decay": config.wd}, {"params": others, "weight_decay": 0.0}]
    device = kernels[0].device
    rate: float | Tensor = config.lr
    if config.compile and compiles_all(device):  # a graph must not know the rate of one step as a number
        rate = torch.tensor(config.lr, dtype=kernels[0].dtype, device=device)
    at_once = device.type != "cpu" or isinstance(rate, Tensor)  # one call for all parameters
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, foreach=at_once, capturable=isinstance(rate, Tensor))
    return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True, foreach=at_once)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step`; to a compiler without what torch wraps around it, which breaks graphs."""
    if torch.compiler.is_compiling():
        inspect.unwrap(type(optimizer).step)(optimizer)
    else:
        optimizer.step()


def make_ema_model(model: Network) -> Network:
    """A copy with weights of its own that shares the BatchNorm buffers: moving statistics are not averaged again."""
    shared = {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, memo=shared).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(ema_model: nn.Module, model: nn.Module, decay: float) -> None:
    """ema ← ema − (1 − decay) · (ema − weights), after the optimizer's update, without correction for the start.

    Args:
        ema_model: made by `make_ema_model` from `model`.
        model: the trained network.
        decay: of the average, per update.
    """
    torch._foreach_lerp_(list(ema_model.parameters()), list(model.parameters()), 1 - decay)
