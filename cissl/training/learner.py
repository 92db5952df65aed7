"""What a trial learns, and one update of it: network, moving average, optimizer state and the method's state."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cissl.algorithms.contract import Facts, Losses, Method, Outputs
from cissl.algorithms.watch import require_rows, watched
from cissl.config import TrialConfig
from cissl.errors import UserError
from cissl.models import backbones
from cissl.models.layers import Classifier, frozen_averages, synchronise
from cissl.models.library import load_weights
from cissl.pretrained import place
from cissl.training import graphs
from cissl.training.distributed import average_gradients, rank, share_first_workers, world_size
from cissl.training.optim import make_ema_model, make_optimizer, set_rate, update_ema
from cissl.training.optim import step as optimizer_step
from cissl.training.randomness import generator
from cissl.training.step import Raw, TrainingStep

CXX = ("g++", "clang++")


def make_network(
    config: TrialConfig, *, classes: int, side: int, channels: int, seed: int | None = None, pretrained: bool = True
) -> Classifier:
    """The network that a trial's settings describe, without the method's heads, on the CPU.

    Args:
        config: the trial's settings.
        classes: number of classes.
        side: height and width of an image in pixels.
        channels: channels of an image.
        seed: seed of the initial weights; by default the trial's.
        pretrained: whether to read the file of pretrained weights, if the settings name one.

    Raises:
        UserError: there is no such network, or the file of weights belongs to another one.
    """
    network = backbones.build(
        config.arch,
        classes=classes,
        side=side,
        channels=channels,
        filters=config.filters,
        repeat=config.repeat,
        scales=config.scales,
        bn_decay=config.bn_decay,
        seed=config.seed if seed is None else seed,
        data=config.spec.name,
    )
    if config.weights and pretrained:
        load_weights(network, place(config.weights))
    return network


class Learner:
    """A network in training. All that is learned has the dtype of its parameters; images are converted to it.

    Args:
        config: the trial's settings.
        model: a network without the method's heads, on its device.
        facts: what the method may know about the data.

    Raises:
        UserError: the settings ask for a compiled network, which this machine or several workers cannot have.

    Attributes:
        method: the trial's algorithm.
        model: the network with its raw weights.
        ema_model: the network with averaged weights, in evaluation mode; it shares BatchNorm's buffers.
        optimizer: updates the raw weights.
        state: the method's state, by name; each update replaces it, and no tensor is changed in place.
        measured_shapes: shapes of the arrays that the method has measured so far, by name.
    """

    def __init__(self, config: TrialConfig, model: Classifier, facts: Facts):
        self.config, self.facts = config, facts
        self.method = watched(Method(config.recipe, config.method))
        self.measured_shapes: dict[str, torch.Size] = {}
        model.add_heads(self.make_heads())
        if world_size() > 1 and config.sync_bn:
            synchronise(model)
        self._format = memory_format(config, facts.device)
        self.model = model.to(memory_format=self._format)
        self.ema_model = make_ema_model(model)
        self.optimizer = make_optimizer(model, config)
        self.state = self.method.state(facts)
        self._drops = any("drop" in type(module).__name__.lower() for module in model.modules())
        self._outputs = _compiled(model) if config.compile else model.outputs
        self._stage_losses: dict[int, Callable[[TrainingStep], Losses]] = {}
        self._update_weights_at_once = graphs.graph(self._update_weights) if config.compile else self._update_weights

    def make_heads(self, stage: int = 0) -> dict[str, nn.Module]:
        """The method's heads with new weights, in the network's dtype and on its device.

        Args:
            stage: number of the stage that they are for; it changes the seed.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.config.seed, "heads", stage).integers(2**63)))
            heads = self.method.heads(self.facts.width, self.facts.classes)
        return {name: head.to(device=self.facts.device, dtype=self.facts.dtype) for name, head in heads.items()}

    def update(self, step: TrainingStep, rate: float) -> Losses:
        """One optimizer update, then the moving average and the method's state.

        Args:
            step: a step that was made for this learner.
            rate: the learning rate, η.

        Returns:
            The losses over the global batch, before the update.
        """
        losses = self.losses(step)
        self.descend(losses, rate)
        self.state = {**self.state, **{name: value.detach() for name, value in step.next.items()}}
        return losses

    def losses(self, step: TrainingStep) -> Losses:
        """The losses of a step over the global batch; the network is in training mode."""
        self.model.train()
        with self._noise(step.trial_step):
            losses = self._losses_of(step)(step)
        step.measured.update({**losses.measured, **step.measured})
        return dataclasses.replace(losses, measured=dict(step.measured))

    def _losses_of(self, step: TrainingStep) -> Callable[[TrainingStep], Losses]:
        """The method's losses, with `compile` as one graph where no two steps differ; else the network alone is one."""
        losses = self.method.base.losses
        if not self.config.compile:
            return losses
        if step.stage not in self._stage_losses:
            same = graphs.is_the_same_each_step(step, losses, self.model)
            self._stage_losses[step.stage] = graphs.graph_where_possible(losses) if same else losses
        return self._stage_losses[step.stage]

    def descend(self, losses: Losses, rate: float) -> None:
        """One optimizer update by the losses' gradient, then one of the moving average.

        Args:
            losses: the losses of this step.
            rate: the learning rate, η.
        """
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.total)
        average_gradients(self.model.parameters())
        at_once = self.config.compile and graphs.compiles_all(self.facts.device) and self.optimizer.state
        (self._update_weights_at_once if at_once else self._update_weights)()
        if not self.config.sync_bn:
            share_first_workers(self.model.buffers())

    @torch.no_grad()
    def _update_weights(self) -> None:
        optimizer_step(self.optimizer)
        update_ema(self.ema_model, self.model, self.config.ema_decay)

    def train_forward(self, parts: Sequence[Tensor], *, update_averages: bool = True) -> Raw:
        """The network's raw outputs in training mode, with gradient; all parts pass through it in one batch.

        Args:
            parts: this worker's images, each (rows, channels, H, W).
            update_averages: whether BatchNorm's moving averages change.

        Returns:
            Logits (all rows, C), features (all rows, width) and heads by name.
        """
        images = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
        frozen = contextlib.nullcontext() if update_averages else frozen_averages(self.model)
        with self._autocast(), frozen:
            network = self.model.outputs if torch.compiler.is_compiling() else self._outputs
            outputs = network(images.to(self.facts.dtype).contiguous(memory_format=self._format))
        self._check_heads(*outputs)
        return outputs

    def _check_heads(self, logits: Tensor, _: Tensor, heads: Mapping[str, Tensor]) -> None:
        for name, value in heads.items():
            require_rows(f"the head '{name}' gives", value, len(logits), self.model.heads[name])

    @torch.no_grad()
    def average_forward(self, images: Tensor, *, batch_statistics: bool = False) -> Raw:
        """The averaged network's raw outputs, without gradient.

        Args:
            images: this worker's, (rows, channels, H, W).
            batch_statistics: normalise by this batch instead of BatchNorm's moving averages, which do not change.
        """
        if not batch_statistics:
            with self._autocast():
                return self.ema_model.outputs(images.to(self.facts.dtype))
        self.ema_model.train()
        try:
            with self._autocast(), frozen_averages(self.ema_model):
                return self.ema_model.outputs(images.to(self.facts.dtype))
        finally:
            self.ema_model.eval()

    @torch.no_grad()
    def raw_forward(self, images: Tensor) -> Raw:
        """The trained network's raw outputs on this worker's images (rows, channels, H, W), without gradient.

        The network is in evaluation mode.
        """
        self.model.eval()
        with self._autocast():
            return self.model.outputs(images.to(self.facts.dtype))

    def predict(self, images: Tensor) -> Tensor:
        """The averaged network's logits (N, C) for this worker's images (N, channels, H, W) float."""
        return self.average_forward(images)[0]

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """A function from this worker's images (N, channels, H, W) to scores (N, C).

        The class with an image's largest score is the method's prediction.
        """
        state = self._prepared()
        return lambda images: self.method.predict(self._averaged(images), state)

    def prediction_state(self) -> dict[str, Tensor]:
        """What the method needs for predictions: those entries of its state that its prediction reads, by name."""
        facts, state = self.facts, _Read(self._prepared())
        method = Method(self.config.recipe, self.config.method)  # not watched: a watched method reads every entry
        method.predict(self._averaged(facts.full((1, facts.channels, facts.side, facts.side), 0.0)), state)
        return {name: state[name] for name in sorted(state.read)}

    def _prepared(self) -> dict[str, Tensor]:
        return {**self.state, **self.method.prepare(self._averaged, self.facts)}

    def _averaged(self, images: Tensor) -> Outputs:
        return Outputs(*self.average_forward(images))  # not gathered: every worker scores its own share

    @torch.no_grad()
    def restart(self, network: Classifier, stage: int) -> None:
        """Take a fresh network's weights, as a stage may ask for; average, optimizer and method start over.

        Args:
            network: a network without heads, on the same device.
            stage: number of the stage that begins.
        """
        network.add_heads(self.make_heads(stage))
        for mine, fresh in zip(self.model.state_dict().values(), network.state_dict().values(), strict=True):
            mine.copy_(fresh)
        self.restart_average()
        self.optimizer.state.clear()
        self.state = self.method.state(self.facts)

    @torch.no_grad()
    def restart_average(self) -> None:
        """Set the averaged weights to the trained weights."""
        for averaged, raw in zip(self.ema_model.parameters(), self.model.parameters(), strict=True):
            averaged.copy_(raw)

    @contextlib.contextmanager
    def _noise(self, step: int) -> Iterator[None]:
        """Inside, dropout is a function of seed, step and worker, like all random numbers of a trial."""
        if not self._drops:
            yield
            return
        devices = [] if self.facts.device.type == "cpu" else [self.facts.device]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(generator(self.config.seed, f"dropout {rank()}", step).integers(2**63)))
            yield

    def _autocast(self) -> torch.autocast:
        return autocast(self.config, self.facts.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that later updates depend on: groups of tensors by name. The tensors are not copied."""
        return {
            "model": self.model.state_dict(),
            "ema": {name: value.detach() for name, value in self.ema_model.named_parameters()},
            "optimizer": {
                f"{name}/{key}": value
                for name, parameter in self.model.named_parameters()
                for key, value in self.optimizer.state.get(parameter, {}).items()
            },
            "state": dict(self.state),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Args:
            state: may also be that of a checkpoint of the first version.

        Raises:
            KeyError, RuntimeError: it belongs to another network or method.
        """
        self.model.load_state_dict(state["model"])
        for name, parameter in self.ema_model.named_parameters():
            parameter.copy_(state["ema"][name])
        parameters = dict(self.model.named_parameters())
        for path, value in _optimizer_state(state).items():
            name, key = path.split("/")
            on_host = key == "step" and not self.optimizer.defaults.get("capturable")
            device = value.device if on_host else parameters[name].device
            self.optimizer.state[parameters[name]][key] = value.to(device, copy=True)  # updated in place
        self.state = {name: value.to(self.facts.device) for name, value in _method_state(state, self.state).items()}


def _optimizer_state(saved: dict[str, Any]) -> dict[str, Tensor]:
    """The optimizer's state in a checkpoint, by parameter/key. The first version saved only SGD's momentum."""
    if "momentum" in saved:
        return {f"{name}/momentum_buffer": value for name, value in saved["momentum"].items()}
    return dict(saved["optimizer"])


def _method_state(saved: dict[str, Any], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The method's state in a checkpoint. The first version saved only the class prior, for every algorithm."""
    if "state" in saved:
        return dict(saved["state"])
    return {"class_prior": saved["class_prior"]} if "class_prior" in start else {}


class _Read(Mapping[str, Tensor]):
    """A method's state that notes which of its entries are read."""

    def __init__(self, state: Mapping[str, Tensor]):
        self._state = state
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        value = self._state[name]
        self.read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def autocast(config: TrialConfig, device: torch.device) -> torch.autocast:
    """A context for the network's passes: bfloat16 where the settings ask for it, else without effect."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def memory_format(config: TrialConfig, device: torch.device) -> torch.memory_format:
    """The memory format of a network's images: channels last, the fastest for convolutions, if that is accurate.

    On a CPU PyTorch's BatchNorm sums the pixels of channels-last images one after the other. With 960 images the error
    is 1e-3: as small as bfloat16's own, but far above float32's. A compiled network has no such error.
    """
    exact = config.precision == "fp32" and not config.compile and device.type == "cpu"
    return torch.contiguous_format if exact else torch.channels_last


def _compiled(model: Classifier) -> Callable[[Tensor], Raw]:
    """The model's forward and backward pass; torch.compile fuses them at the first step.

    Raises:
        UserError: there are several workers, or this machine has no C++ compiler.
    """
    if world_size() > 1:
        raise UserError("compile: true takes trials of one worker; train with fewer, or without it", key="compile")
    if next(model.parameters()).device.type == "cpu" and not any(map(shutil.which, CXX)):
        raise UserError(f"compile: true needs a C++ compiler ({' or '.join(CXX)}); install one", key="compile")
    return torch.compile(model.outputs, dynamic=False)
