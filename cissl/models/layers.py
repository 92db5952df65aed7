"""Layers with TensorFlow's conventions: SAME padding, its BatchNorm, its initialisers.

Notation: N images, C channels, H×W pixels, k side of a kernel, s stride.
Images are (N, C, H, W) in any memory format.
Constructors leave kernels unset and do not touch the global random state; `build` draws every kernel.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cissl.errors import UserError


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis so that ⌈size/stride⌉ windows fit; an odd one goes after.

    Args:
        size: of the axis, in pixels.
        kernel: side of the kernel.
    """
    windows = -(-size // stride)
    total = max((windows - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Conv2d(nn.Conv2d):
    """Convolution with bias, without padding (TensorFlow's VALID): (N, C, H, W) → (N, outputs, H', W')."""

    bias: nn.Parameter

    def reset_parameters(self) -> None:
        """Do nothing: the network's `initialise` draws the kernel."""


class SameConv2d(Conv2d):
    """Convolution with bias whose output has ⌈H/s⌉×⌈W/s⌉ pixels (TensorFlow's SAME)."""

    def forward(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → (N, outputs, ⌈H/s⌉, ⌈W/s⌉)."""
        if self._gradient_overruns(x):  # it is the same convolution if the pixels are picked first
            return F.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight, self.bias)
        top, bottom = same_padding(x.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(x.shape[3], self.kernel_size[1], self.stride[1])
        if (top, left) == (bottom, right) and not self._gradient_has_gaps(x):  # conv2d pads without a copy of x
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left))
        return F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, self.bias, self.stride)

    def _gradient_overruns(self, x: Tensor) -> bool:
        """Whether oneDNN's gradient for AVX2 would write beyond its memory, as it does for few channels if compiled."""
        narrow = self.kernel_size == (1, 1) and max(self.stride) > 1 and self.in_channels < 8
        return narrow and x.device.type == "cpu" and torch.compiler.is_compiling()

    def _gradient_has_gaps(self, x: Tensor) -> bool:
        """Whether oneDNN would leave gaps in the kernel's gradient, as it does in bf16 for what sees only padding."""
        one_window = any(1 < stride >= size for size, stride in zip(x.shape[2:], self.stride, strict=True))
        return one_window and torch.is_autocast_enabled(x.device.type)


class Dense(nn.Linear):
    """Fully connected layer."""

    def reset_parameters(self) -> None:
        """Do nothing: the network's `initialise` draws the kernel."""


class _AllReduce(torch.autograd.Function):
    """Sum over the ranks of a group. Every rank's loss depends on the sum, so gradients are summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = x.contiguous().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _AllReduce.apply(grad, ctx.group), None


class _Ranks:
    """The processes whose equal shares form one batch. Copies of a model share the group, which cannot be copied."""

    def __init__(self, group: dist.ProcessGroup | None):
        self.group = group

    def __deepcopy__(self, memo: dict[int, object]) -> "_Ranks":
        return self

    def gather(self, x: Tensor) -> Tensor:
        """Every rank's `x`, with gradient: (…) → (ranks, …)."""
        slots = x.new_zeros(dist.get_world_size(self.group), *x.shape)
        slots[dist.get_rank(self.group)] = x
        gathered: Tensor = _AllReduce.apply(slots, self.group)
        return gathered


class _OneRank:
    """One process alone, in place of `_Ranks`."""

    def gather(self, x: Tensor) -> Tensor:
        """(…) → (1, …)."""
        return x[None]


_Group: TypeAlias = _Ranks | _OneRank


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with ε 1e-3; after `synchronise` over several processes.

    It normalises with the biased variance of the batch, and its moving average is of the unbiased one. It does not
    count batches.

    Args:
        channels: C of the float images (N, C, H, W).
        decay: share that the moving averages keep at each training step.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def __init__(self, channels: int, decay: float):
        # The parent's tracking would add a counter of batches: one more GPU kernel per layer and step.
        super().__init__(channels, eps=1e-3, momentum=1 - decay, track_running_stats=False)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.ranks: _Group | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float images (N, C, H, W).

        Raises:
            UserError: in training, the batch has one value for each channel, which has no variance.
        """
        if self.training and self.ranks is not None:
            return self._joint_forward(x, self.ranks)
        if self.training and x.numel() == x.shape[1]:
            raise UserError(
                "BatchNorm cannot be trained on a single image of a single pixel: give a larger batch, or fewer scales",
                key="batch",
            )
        if self.training and torch.compiler.is_compiling():
            return self._one_pass_forward(x)
        moving = self.running_mean, self.running_var
        return F.batch_norm(x, *moving, self.weight, self.bias, self.training, self.momentum, self.eps)

    def _one_pass_forward(self, x: Tensor) -> Tensor:
        # Written out, so that the compiler fuses it with its neighbours. Mean and variance come from one pass over x,
        # which on a CPU takes half the time of the compiler's own variance. The difference of squares loses digits if
        # the mean is large: 1e-5 of the output at a mean of three deviations, 3e-4 at eleven.
        values, count = x.to(self.weight.dtype), x.numel() // x.shape[1]
        mean = values.sum(dim=(0, 2, 3)) / count
        var = (values.square().sum(dim=(0, 2, 3)) / count - mean.square()).clamp_min(0)
        self._average(mean, var, count)
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _average(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the averages towards a batch's mean and biased variance over `count` pixels."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)

    def _joint_forward(self, x: Tensor, ranks: _Group) -> Tensor:
        mean, var, count = _joint_moments(x, ranks)
        self._average(mean, var, count)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]


class JointBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What `synchronise` makes of torch's own BatchNorm layers; parameters and buffers stay as they are."""

    ranks: _Group

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float values (N, C, …) over all ranks in training, by the moving averages otherwise."""
        if not self.training and self.running_mean is not None:
            moving = self.running_mean, self.running_var
            return F.batch_norm(x, *moving, self.weight, self.bias, False, 0.0, self.eps)
        mean, var, count = _joint_moments(x, self.ranks)
        if self.training and self.running_mean is not None:
            self._average(mean.detach(), var.detach(), count)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        x = (x - mean.view(shape)) * torch.rsqrt(var + self.eps).view(shape)
        return x if self.weight is None else x * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _average(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var * (count / (count - 1)), momentum)


class JointBatchNormAct(JointBatchNorm):
    """What `synchronise` makes of timm's layer of a BatchNorm and an activation."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float images (N, C, H, W), then activate."""
        activated: Tensor = self.act(self.drop(super().forward(x)))
        return activated


def _joint_moments(x: Tensor, ranks: _Group) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of each channel over all ranks' equal shares, (C,) each, and the number of values."""
    # The joint variance of equal shares is the mean of their variances plus the variance of their means
    # (Chan et al. 1979). This is as accurate as two passes over the joint batch, and needs one exchange each way.
    dims = [dim for dim in range(x.ndim) if dim != 1]
    shares = ranks.gather(torch.stack(torch.var_mean(x, dim=dims, correction=0)))
    variances, means = shares.unbind(dim=1)  # (ranks, C) each
    var = variances.mean(dim=0) + means.var(dim=0, correction=0)
    return means.mean(dim=0), var, len(shares) * x.numel() // x.shape[1]


def synchronise(model: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Let every BatchNorm of `model`, torch's own too, normalise in training mode over the joint batch of all ranks.

    Outputs, moving averages and gradients then equal those of one process that sees all images. Gradients of
    parameters do so once they are summed over the ranks. Unlike torch's own SyncBatchNorm, this also works on CPUs
    (gloo). Every rank must hold a share of the same size.

    Args:
        model: changed in place.
        group: an initialised process group, None for the default one.
    """
    ranks = _Ranks(group)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.ranks = ranks
        elif type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            _join(module, JointBatchNorm, ranks)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and {"act", "drop"} <= module._modules.keys():
            _join(module, JointBatchNormAct, ranks)


def _join(module: nn.Module, kind: type[JointBatchNorm], ranks: _Ranks) -> None:
    """Change the class of a layer in place; its parameters and buffers stay."""
    module.__class__ = kind
    assert isinstance(module, JointBatchNorm)
    module.ranks = ranks


@contextlib.contextmanager
def single_process(model: nn.Module) -> Iterator[None]:
    """Within, every BatchNorm normalises over this process's batch alone: for images that all processes share."""
    layers = [module for module in model.modules() if isinstance(module, BatchNorm2d | JointBatchNorm)]
    norms = [layer for layer in layers if layer.ranks is not None]
    ranks = [norm.ranks for norm in norms]
    try:
        for norm in norms:
            norm.ranks = _OneRank()
        yield
    finally:
        for norm, together in zip(norms, ranks, strict=True):
            norm.ranks = together


@contextlib.contextmanager
def frozen_averages(model: nn.Module) -> Iterator[None]:
    """Within, batches do not change the moving averages of any BatchNorm."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def sees_map(head: nn.Module) -> bool:
    """Whether an extra head takes the last feature map instead of the features."""
    return bool(getattr(head, "sees_map", False))


class Classifier(nn.Module):
    """A network: features from `embed`, logits from one dense layer on them, and the extra heads of some methods."""

    dense: nn.Linear

    def last_map(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → the last feature map (N, width, h, w)."""
        raise NotImplementedError

    def embed(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → features (N, width) before the dense layer: the last map's mean over pixels."""
        return self._pool(self.last_map(x))

    def _pool(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), dtype=self.dense.weight.dtype)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every kernel from `generator` and set every bias to 0."""
        raise NotImplementedError

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Float images (N, C, H, W) → logits (N, classes), features (N, width), and each extra head's values.

        They have the weights' precision under autocast too: bf16 is too coarse for thresholds near 1.
        """
        heads: Any = self._modules.get("heads") or {}  # most methods have none
        maps = self.last_map(x) if any(map(sees_map, heads.values())) else None
        features = self.embed(x) if maps is None else self._pool(maps)
        with torch.autocast(x.device.type, enabled=False):
            dtype = self.dense.weight.dtype
            features = features.to(dtype)
            values: dict[str, Tensor] = {
                name: head(features if maps is None or not sees_map(head) else maps.to(dtype))
                for name, head in heads.items()
            }
            return self.dense(features), features, values

    def forward(self, x: Tensor) -> Tensor:
        """Float images (N, C, H, W) → logits (N, classes)."""
        return self.outputs(x)[0]

    def add_heads(self, heads: dict[str, nn.Module]) -> None:
        """Give the network further modules, which take its features; without any, nothing changes."""
        if heads:
            self.heads = nn.ModuleDict(heads)


class ResidualClassifier(Classifier):
    """What WideResNet and ResNet-18 share: initialisers, and the layers behind the last block."""

    norm: BatchNorm2d

    def activated(self, x: Tensor) -> Tensor:
        """Output (N, C, H, W) of the last block → the last map, of the same shape."""
        return leaky_relu(self.norm(x))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw convolutions from a normal of variance 2/(k²·outputs), dense from a Glorot normal that is cut at 2σ."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                receptive = math.prod(module.kernel_size)
                nn.init.normal_(
                    module.weight, std=math.sqrt(2 / (receptive * module.out_channels)), generator=generator
                )
                nn.init.zeros_(module.bias)
        # The deviation before the cut; a normal that is cut at ±2 keeps 0.8796 of it.
        std = math.sqrt(2 / sum(self.dense.weight.shape)) / 0.87962566103423978
        nn.init.trunc_normal_(self.dense.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        nn.init.zeros_(self.dense.bias)


def leaky_relu(x: Tensor, slope: float = 0.1) -> Tensor:
    """Leaky ReLU of a float tensor of any shape, which it overwrites.

    It is safe after BatchNorm and convolutions, whose gradients do not need their outputs.
    """
    return F.leaky_relu(x, slope, inplace=True)


class PreActivationBlock(nn.Module):
    """Residual block with BatchNorm and leaky ReLU before each of its two 3×3 convolutions (He et al. 2016).

    The shortcut is a 1×1 convolution where the number of channels changes, else the identity.
    Submodules have the order in which the reference creates its variables.

    Args:
        inputs, outputs: channels.
        stride: of the first convolution and of the shortcut.
        activate_shortcut: whether the shortcut starts from the activated input too.
        bn_decay: see `BatchNorm2d`.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activate_shortcut: bool, bn_decay: float):
        super().__init__()
        self.activate_shortcut = activate_shortcut
        self.norm1 = BatchNorm2d(inputs, bn_decay)
        self.conv1 = SameConv2d(inputs, outputs, 3, stride)
        self.norm2 = BatchNorm2d(outputs, bn_decay)
        self.conv2 = SameConv2d(outputs, outputs, 3)
        self.shortcut = nn.Identity() if inputs == outputs else SameConv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Float maps (N, inputs, H, W) → (N, outputs, ⌈H/s⌉, ⌈W/s⌉)."""
        activated = leaky_relu(self.norm1(x))
        residual: Tensor = self.conv2(leaky_relu(self.norm2(self.conv1(activated))))
        shortcut: Tensor = self.shortcut(activated if self.activate_shortcut else x)
        return shortcut + residual
