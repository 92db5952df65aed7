"""What is learned, and one update of it: network, moving average, optimizer state and the method's state."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

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
from cissl.training.distributed import average_gradients, rank, share_first_workers, world_size
from cissl.training.optim import make_ema_model, make_optimizer, update_ema
from cissl.training.randomness import generator
from cissl.training.step import Raw, TrainingStep

CXX = ("g++", "clang++")


def make_network(
    config: TrialConfig, *, classes: int, side: int, channels: int, seed: int | None = None, pretrained: bool = True
) -> Classifier:
    """The network that a trial's settings ask for, without heads; see `cissl.models.backbones.build`.

    Args:
        config: the trial's settings.
        classes, side, channels: see there.
        seed: of the initial weights; by default the trial's.
        pretrained: whether the weights of a file are read, where the settings name one.

    Raises:
        UserError: there is no such network, or the file of weights is none of it.
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
    """A network in training. Its parameters' dtype is that of all that is learned; images of another are converted.

    Args:
        config: the trial's settings.
        model: a network without the method's heads, on its device.
        facts: what the method may know.

    Attributes:
        method: the trial's algorithm.
        model: the network with its raw weights.
        ema_model: the same with averaged weights, in evaluation mode; shares BatchNorm's buffers.
        state: the method's state, by name; replaced by each update, never changed in place.
        measured_shapes: shape of what the method has measured so far, by name.
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

    def make_heads(self, stage: int = 0) -> dict[str, nn.Module]:
        """The method's heads with fresh weights, of the network's type and on its device."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.config.seed, "heads", stage).integers(2**63)))
            heads = self.method.heads(self.facts.width, self.facts.classes)
        return {name: head.to(device=self.facts.device, dtype=self.facts.dtype) for name, head in heads.items()}

    def update(self, step: TrainingStep, rate: float) -> Losses:
        """One optimizer update, then the moving average and the method's state.

        Args:
            step: made for this learner.
            rate: learning rate.

        Returns:
            The losses over the global batch, before the update.
        """
        losses = self.losses(step)
        self.descend(losses, rate)
        self.state = {**self.state, **{name: value.detach() for name, value in step.next.items()}}
        return losses

    def losses(self, step: TrainingStep) -> Losses:
        """The losses of a step over the global batch."""
        self.model.train()
        with self._noise(step.trial_step):
            losses = self.method.base.losses(step)
        step.measured.update({**losses.measured, **step.measured})
        return dataclasses.replace(losses, measured=dict(step.measured))

    def descend(self, losses: Losses, rate: float) -> None:
        """Follow the losses' gradient for one optimizer update, then move the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        average_gradients(self.model.parameters())
        self.optimizer.step()
        update_ema(self.ema_model, self.model, self.config.ema_decay)
        if not self.config.sync_bn:
            share_first_workers(self.model.buffers())

    def train_forward(self, parts: Sequence[Tensor], *, update_averages: bool = True) -> Raw:
        """The network in training mode on this worker's images (rows, channels, H, W), all parts in one batch."""
        images = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
        frozen = contextlib.nullcontext() if update_averages else frozen_averages(self.model)
        with self._autocast(), frozen:
            outputs = self._outputs(images.to(self.facts.dtype).contiguous(memory_format=self._format))
        self._check_heads(*outputs)
        return outputs

    def _check_heads(self, logits: Tensor, _: Tensor, heads: Mapping[str, Tensor]) -> None:
        for name, value in heads.items():
            require_rows(f"the head '{name}' gives", value, len(logits), self.model.heads[name])

    @torch.no_grad()
    def average_forward(self, images: Tensor, *, batch_statistics: bool = False) -> Raw:
        """The averaged network on this worker's images, without gradient."""
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
        """The trained network in evaluation mode on this worker's images, without gradient."""
        self.model.eval()
        with self._autocast():
            return self.model.outputs(images.to(self.facts.dtype))

    def predict(self, images: Tensor) -> Tensor:
        """The averaged network's logits, (N, C), of this worker's images (N, channels, H, W) float."""
        return self.average_forward(images)[0]

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """A function from this worker's images to the scores (N, C) whose largest is the method's prediction."""
        state = self._prepared()
        return lambda images: self.method.predict(self._averaged(images), state)

    def prediction_state(self) -> dict[str, Tensor]:
        """What the method's prediction reads of its state, and of what it prepares for an evaluation; by name."""
        facts, state = self.facts, _Read(self._prepared())
        method = Method(self.config.recipe, self.config.method)  # not watched, which reads every entry
        method.predict(self._averaged(facts.full((1, facts.channels, facts.side, facts.side), 0.0)), state)
        return {name: state[name] for name in sorted(state.read)}

    def _prepared(self) -> dict[str, Tensor]:
        return {**self.state, **self.method.prepare(self._averaged, self.facts)}

    def _averaged(self, images: Tensor) -> Outputs:
        return Outputs(*self.average_forward(images))  # as they are: in an evaluation every worker scores its own share

    @torch.no_grad()
    def restart(self, network: Classifier, stage: int) -> None:
        """Start over with the weights of a fresh network, as a stage may; the method's state too."""
        network.add_heads(self.make_heads(stage))
        for mine, fresh in zip(self.model.state_dict().values(), network.state_dict().values(), strict=True):
            mine.copy_(fresh)
        self.restart_average()
        self.optimizer.state.clear()
        self.state = self.method.state(self.facts)

    @torch.no_grad()
    def restart_average(self) -> None:
        """Start the moving average over from the trained weights."""
        for averaged, raw in zip(self.ema_model.parameters(), self.model.parameters(), strict=True):
            averaged.copy_(raw)

    @contextlib.contextmanager
    def _noise(self, step: int) -> Iterator[None]:
        """Within, dropout of a network that has it is a function of seed, step and worker, like every draw."""
        if not self._drops:
            yield
            return
        devices = [] if self.facts.device.type == "cpu" else [self.facts.device]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(generator(self.config.seed, f"dropout {rank()}", step).integers(2**63)))
            yield

    def _autocast(self) -> torch.autocast:
        return autocast(self.config, self.facts.device)

    def state_dict(self) -> dict:
        """Everything that later updates depend on, as tensors."""
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
    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`'s values."""
        self.model.load_state_dict(state["model"])
        for name, parameter in self.ema_model.named_parameters():
            parameter.copy_(state["ema"][name])
        parameters = dict(self.model.named_parameters())
        for path, value in _optimizer_state(state).items():
            name, key = path.split("/")
            device = value.device if key == "step" else parameters[name].device
            self.optimizer.state[parameters[name]][key] = value.to(device)
        self.state = {name: value.to(self.facts.device) for name, value in _method_state(state, self.state).items()}


def _optimizer_state(saved: dict) -> dict[str, Tensor]:
    """The optimizer's state of a checkpoint, by parameter/key; the first version had SGD's momentum alone."""
    if "momentum" in saved:
        return {f"{name}/momentum_buffer": value for name, value in saved["momentum"].items()}
    return saved["optimizer"]


def _method_state(saved: dict, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The method's state of a checkpoint; the first version's held the class prior alone, for every algorithm."""
    if "state" in saved:
        return saved["state"]
    return {"class_prior": saved["class_prior"]} if "class_prior" in start else {}


class _Read(Mapping):
    """A state that notes which of its entries are read."""

    def __init__(self, state: Mapping[str, Tensor]):
        self._state, self.read = state, set()

    def __getitem__(self, name: str) -> Tensor:
        value = self._state[name]
        self.read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def autocast(config: TrialConfig, device: torch.device) -> torch.autocast:
    """The arithmetic of the network's passes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def memory_format(config: TrialConfig, device: torch.device) -> torch.memory_format:
    """Channels last, which convolutions are fastest with, except where that costs accuracy.

    On a CPU torch's own BatchNorm adds up channels-last pixels one after the other, which over a batch of 960 images
    leaves errors of 1e-3: no more than bf16's own, but far above float32's. The compiled one has no such loss.
    """
    exact = config.precision == "fp32" and not config.compile and device.type == "cpu"
    return torch.contiguous_format if exact else torch.channels_last


def _compiled(model: Classifier) -> Callable[[Tensor], Raw]:
    """The model's forward and backward pass, fused by torch.compile at the first step.

    Raises:
        UserError: there are several workers, or no compiler.
    """
    if world_size() > 1:
        raise UserError("compile: true takes trials of one worker; train with fewer, or without it", key="compile")
    if next(model.parameters()).device.type == "cpu" and not any(map(shutil.which, CXX)):
        raise UserError(f"compile: true needs a C++ compiler ({' or '.join(CXX)}); install one", key="compile")
    return torch.compile(model.outputs, dynamic=False)
