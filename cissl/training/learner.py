"""What is learned, and one update of it: network, moving average, optimizer state and class prior."""

import dataclasses
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cissl.algorithms.fixmatch import labeled_loss
from cissl.algorithms.losses import Losses, LossOptions, compute_losses
from cissl.algorithms.names import parse_algorithm
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.models.layers import synchronise
from cissl.training.distributed import gather_rows, share_first_workers, world_size, wrap
from cissl.training.optim import learning_rate, make_ema_model, make_optimizer, update_ema

CXX = ("g++", "clang++")


class Learner:
    """A network in training. Its parameters' dtype is that of all that is learned; images of another are converted.

    Attributes:
        model: the network with its raw weights.
        ema_model: the same with averaged weights, in evaluation mode; shares BatchNorm's buffers.
        class_prior: p̂, (C,).
    """

    def __init__(self, config: TrialConfig, model: nn.Module, classes: int):
        self.config = config
        self.algorithm = parse_algorithm(config.algorithm)
        names = [field.name for field in dataclasses.fields(LossOptions)]
        self.options = LossOptions(**{name: getattr(config, name) for name in names})
        if world_size() > 1 and config.sync_bn:
            synchronise(model)
        self._format = _memory_format(config, next(model.parameters()).device)
        self.model = model.to(memory_format=self._format)
        self.ema_model = make_ema_model(model)
        self.optimizer = make_optimizer(model, config)
        parameter = next(model.parameters())
        self.class_prior = torch.full((classes,), 1 / classes, dtype=parameter.dtype, device=parameter.device)
        self._forward = _compiled(model) if config.compile else wrap(model)

    def update(
        self, step: int, labeled: Tensor, targets: Tensor, weak: Tensor | None = None, strong: Tensor | None = None
    ) -> Losses:
        """One optimizer step, then the moving average.

        Args:
            step: updates made before this one; sets the learning rate.
            labeled: this worker's labeled views, (B, channels, H, W) float.
            targets: labels of the *global* batch, int64.
            weak, strong: this worker's two views of its unlabeled images, (U, channels, H, W); None for `supervised`.

        Returns:
            The losses over the global batch, before the update.
        """
        losses = self.losses(labeled, targets, weak, strong)
        self.descend(step, losses)
        return losses

    def descend(self, step: int, losses: Losses) -> None:
        """Follow the losses' gradient for one optimizer step, then move the average and the class prior."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        self.optimizer.zero_grad(set_to_none=True)
        (losses.labeled + self.config.wu * losses.unlabeled).backward()
        self.optimizer.step()
        update_ema(self.ema_model, self.model, self.config.ema_decay)
        if not self.config.sync_bn:
            share_first_workers(self.model.buffers())
        self.class_prior = losses.class_prior

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The EMA model's logits, (N, C), of images (N, channels, H, W) float."""
        with self._autocast():
            return self.ema_model(images.to(self.class_prior.dtype))

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bf16"
        return torch.autocast(self.class_prior.device.type, torch.bfloat16, enabled=enabled)

    def losses(
        self, labeled: Tensor, targets: Tensor, weak: Tensor | None = None, strong: Tensor | None = None
    ) -> Losses:
        """The losses over the global batch; arguments as for `update`."""
        self.model.train()
        if not self.algorithm.unlabeled:
            logits = gather_rows(self._logits(labeled))
            return Losses(
                labeled=labeled_loss(logits, targets),
                unlabeled=logits.new_zeros(()),
                pseudo_labels=targets.new_zeros(0),
                mask=torch.zeros(0, dtype=torch.bool, device=logits.device),
                class_prior=self.class_prior,
                cadr=logits.new_zeros(()),
            )
        # One forward pass, hence one set of BatchNorm statistics, over labeled, weak and strong images together.
        logits = self._logits(torch.cat([labeled, weak, strong]))
        views = [gather_rows(rows) for rows in logits.split([len(labeled), len(weak), len(strong)])]
        return compute_losses(self.algorithm, *views, targets, self.class_prior, self.options)

    def _logits(self, images: Tensor) -> Tensor:
        with self._autocast():
            return self._forward(images.to(self.class_prior.dtype).contiguous(memory_format=self._format))

    def state_dict(self) -> dict:
        """Everything that later updates depend on, as tensors."""
        return {
            "model": self.model.state_dict(),
            "ema": {name: value.detach() for name, value in self.ema_model.named_parameters()},
            "momentum": {
                name: self.optimizer.state[parameter]["momentum_buffer"]
                for name, parameter in self.model.named_parameters()
                if parameter in self.optimizer.state
            },
            "class_prior": self.class_prior,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`'s values."""
        self.model.load_state_dict(state["model"])
        for name, parameter in self.ema_model.named_parameters():
            parameter.copy_(state["ema"][name])
        for name, parameter in self.model.named_parameters():
            if name in state["momentum"]:
                self.optimizer.state[parameter]["momentum_buffer"] = state["momentum"][name].to(parameter.device)
        self.class_prior = state["class_prior"].to(self.class_prior.device)


def _memory_format(config: TrialConfig, device: torch.device) -> torch.memory_format:
    """Channels last, which convolutions are fastest with, except where that costs accuracy.

    On a CPU torch's own BatchNorm adds up channels-last pixels one after the other, which over a batch of 960 images
    leaves errors of 1e-3: no more than bf16's own, but far above float32's. The compiled one has no such loss.
    """
    exact = config.precision == "fp32" and not config.compile and device.type == "cpu"
    return torch.contiguous_format if exact else torch.channels_last


def _compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's forward and backward pass, fused by torch.compile at the first step.

    Raises:
        UserError: there are several workers, or no compiler.
    """
    if world_size() > 1:
        raise UserError("compile: true takes trials of one worker; train with fewer, or without it", key="compile")
    if next(model.parameters()).device.type == "cpu" and not any(map(shutil.which, CXX)):
        raise UserError(f"compile: true needs a C++ compiler ({' or '.join(CXX)}); install one", key="compile")
    return torch.compile(model, dynamic=False)
