"""What a training step asks of a GPU, seen without one.

A *device call* is one ATen operator that computes or copies tensors of the device: on a GPU the launch of a kernel, or
of a few. Views and allocations launch nothing and are not counted; a `foreach` operator counts once.

On the pretended GPU tensors have a device and a shape, and no values; reading one raises
torch's `DataDependentOutputException`. Autograd asks for the real device, so the backward pass is counted on a CPU.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cissl.algorithms.darp.method import DARP
from cissl.augment import constants
from cissl.config import TrialConfig
from cissl.datasets import Dataset
from cissl.models import backbones
from cissl.training import graphs, optim
from cissl.training import learner as learning
from cissl.training.learner import Learner
from cissl.training.trainer import Trainer

NETWORK = ("forward", "forward, averaged", "network's backward")
PARTS = (
    *("batch", "views", "strong views", "probe", "forward, averaged", "forward", "losses", "losses' backward"),
    *("network's backward", "optimizer", "moving average", "records", "other"),
)
ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "detach")
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.to.dtype_layout)  # the latter in inference mode
STAGED = 2**16  # bytes: a larger copy from ordinary memory waits until the GPU has done its work
PINNED = "pretends_to_be_pinned"  # attribute of tensors
# Linear algebra that looks at its own values; `solve`, `inv` and `cholesky` end with `_linalg_check_errors`.
LOOKING = (
    *("_linalg_check_errors", "_linalg_eigh", "linalg_eig", "_linalg_svd", "linalg_lstsq", "linalg_pinv"),
    *("linalg_matrix_exp", "cholesky_inverse"),
)
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
SMALL: dict[str, Any] = {"batch": 8, "filters": 4}  # sizes for the backward pass on a CPU; calls do not depend on them


class DeviceCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Within, counts device calls and copies to the device, by part of the step.

    Args:
        device: type of the device whose calls are counted.

    Attributes:
        operators: part → operator → number of device calls.
        waiting: for every call that the host waits for, see `makes_host_wait`: part and operator.
        sent: for every copy from the host's memory to the GPU: part, bytes, and whether the host continues at once.
    """

    def __init__(self, device: str = "cuda"):
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it
        self._device = device
        self.operators: dict[str, Counter[str]] = {}
        self.waiting: list[tuple[str, str]] = []
        self.sent: list[tuple[str, int, bool]] = []
        self._part = "other"

    @property
    def outside(self) -> int:
        """Calls outside the network's own forward and backward passes."""
        return sum(count for part, count in self.calls.items() if part not in NETWORK)

    @property
    def calls(self) -> Counter[str]:
        """Part → number of device calls."""
        return Counter({part: sum(operators.values()) for part, operators in self.operators.items()})

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.__name__.partition(".")[0]
        tensors = [leaf for leaf in tree_leaves((result, args)) if isinstance(leaf, Tensor)]
        there = function.namespace == "aten" and any(tensor.device.type == self._device for tensor in tensors)
        if there and not function.is_view and name not in ALLOCATIONS:
            self.operators.setdefault(self._part, Counter())[name] += 1
        if there and makes_host_wait(function, args, kwargs or {}):
            self.waiting.append((self._part, name))
        if function in COPIES and args[0].device.type == "cpu" and result.device.type != "cpu":
            staged = args[0].nbytes <= STAGED or getattr(args[0], PINNED, False)
            self.sent.append((self._part, args[0].nbytes, staged and bool((kwargs or {}).get("non_blocking"))))
        return result

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within, calls count for this part."""
        outer, self._part = self._part, name
        try:
            yield
        finally:
            self._part = outer

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls count for this part."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return counted

    @contextlib.contextmanager
    def watching(self, trainer: Trainer) -> Iterator["DeviceCalls"]:
        """Within, counts; tells the parts of this trainer's steps apart, from now on."""
        self._watch(trainer)
        average, backward = optim.update_ema, torch.autograd.backward
        with (
            mock.patch.object(learning, "update_ema", self.of("moving average", average)),
            mock.patch.object(torch.autograd, "backward", self.of("losses' backward", backward)),
            self,
        ):
            yield self

    def _watch(self, trainer: Trainer) -> None:
        learner = trainer.learner
        parts: list[tuple[object, str, str]] = [  # owner and name of a function → part of the step
            (trainer, "_batch", "batch"),
            (trainer, "_augmented", "views"),
            (trainer.augmentation, "_strengthened", "strong views"),
            (trainer.augmentation, "_adaptive", "strong views"),
            (trainer, "_update_rates", "probe"),
            (trainer._interval, "add", "records"),
            (learner, "losses", "losses"),
            (learner, "average_forward", "forward, averaged"),
            (learner.optimizer, "step", "optimizer"),
        ]
        for owner, name, part in parts:
            _replace(owner, name, self.of(part, getattr(owner, name)))
        forward = self.of("forward", learner.train_forward)

        def train_forward(*args: Any, **kwargs: Any) -> Any:
            logits, features, heads = forward(*args, **kwargs)
            for output in (logits, features, *heads.values()):
                if output.requires_grad:  # the rest of the backward pass is the network's
                    output.register_hook(lambda gradient: setattr(self, "_part", "network's backward"))
            return logits, features, heads

        _replace(learner, "train_forward", train_forward)


def _replace(owner: object, name: str, function: Callable[..., Any]) -> None:
    """Replace a method of this object alone."""
    setattr(owner, name, function)


def makes_host_wait(function: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a host that calls this operator on a GPU's tensors waits for their values.

    It does for values read back, for shapes that depend on values, and for linear algebra that looks at its own values.
    """
    name = function.__name__.partition(".")[0]
    if name in INDEXING:  # by a mask
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1] or ())
    reads = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.intersection(function.tags)
    return name in LOOKING or (bool(reads) and kwargs.get("output_size") is None)


@contextlib.contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Within, "cuda" is a device whose tensors have no values. It works in one thread, and without a real GPU."""
    build = backbones.build
    networks: list[nn.Module] = []

    def build_there(*args: Any, **kwargs: Any) -> Any:
        with unset_fake_temporarily():
            network = build(*args, **kwargs).to(memory_format=torch.channels_last)
        network = network.to("cuda")
        _replace(network, "to", lambda *_, **__: network)  # weights without values cannot be converted again
        networks.append(network)
        return network

    def make_heads(learner: Learner, stage: int = 0) -> dict[str, nn.Module]:  # made outside, like the network
        with unset_fake_temporarily():
            heads = learner.method.heads(learner.facts.width, learner.facts.classes)
        return {name: head.to("cuda") for name, head in heads.items()}

    def backward(loss: Tensor) -> None:  # torch's own needs the real device
        for parameter in networks[-1].parameters():
            parameter.grad = torch.empty_like(parameter)

    make_uncompiled_optimizer = optim.make_optimizer

    def make_optimizer(model: nn.Module, config: TrialConfig) -> torch.optim.Optimizer:
        return make_uncompiled_optimizer(model, dataclasses.replace(config, compile=False))  # its rate is a number

    def pin_memory(tensor: Tensor) -> Tensor:
        setattr(tensor, PINNED, True)
        return tensor

    with contextlib.ExitStack() as changed:
        changed.enter_context(mock.patch.object(Tensor, "pin_memory", pin_memory))
        changed.enter_context(mock.patch.object(backbones, "build", build_there))
        changed.enter_context(mock.patch.object(Learner, "make_heads", make_heads))
        # The calls of a compiled step are counted before the compiler fuses any.
        changed.enter_context(mock.patch.object(learning, "_compiled", lambda model: model.outputs))
        changed.enter_context(mock.patch.object(graphs, "graph", lambda function: function))
        changed.enter_context(mock.patch.object(learning, "make_optimizer", make_optimizer))
        # It waits for values, but before training, when this costs nothing.
        changed.enter_context(mock.patch.object(DARP, "_check", lambda self, facts: None))
        changed.enter_context(mock.patch.object(torch.autograd, "backward", backward))
        changed.enter_context(mock.patch.object(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40)))
        changed.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        try:
            yield torch.device("cuda")
        finally:
            constants.forget()


def count_step(config: TrialConfig, dataset: Dataset) -> DeviceCalls:
    """Count one step within a stage on the pretended GPU, and its backward pass on a CPU.

    Raises:
        DataDependentOutputException: the step reads a value of the device.
    """
    with pretended_gpu() as device:
        calls = _counted(Trainer(config, dataset, device))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = {key: value for key, value in SMALL.items() if value < getattr(config, key)}
    backward = _counted(Trainer(dataclasses.replace(config, **small), dataset, torch.device("cpu")))
    torch.set_num_threads(threads)
    for part in ("losses' backward", "network's backward"):
        calls.operators[part] = backward.operators.get(part, Counter())
    return calls


def _counted(trainer: Trainer) -> DeviceCalls:
    trainer.train_step()  # makes and sends the constant tables that augmentation keeps
    while trainer.schedule.at(trainer.step).number == 0:  # the first step of a stage may wait
        trainer.train_step()
    with DeviceCalls(trainer.device.type).watching(trainer) as calls:
        trainer.train_step()
    return calls
