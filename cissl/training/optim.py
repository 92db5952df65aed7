"""Learning-rate schedule, optimizer and the weights' moving average, as in the reference."""

import copy
import math
from typing import TypeVar

import torch
from torch import nn

from cissl.config import KIMG, TrialConfig
from cissl.models.backbones import decayed_kernels

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
    together = kernels[0].device.type != "cpu"  # one call for all parameters
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, foreach=together)
    return torch.optim.SGD(groups, lr=config.lr, momentum=MOMENTUM, nesterov=True, foreach=together)


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
