"""The toy network of the vectors that give whole steps, in a real learner with the package's optimizer and averages."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cissl.config import TrialConfig
from cissl.models.layers import Classifier
from cissl.testing import CannedDraws, make_facts
from cissl.training.learner import Learner
from cissl.training.optim import learning_rate
from cissl.training.step import TrainingStep
from tests.algorithms.vectors.adapters import Collected, tensor


class Norm(nn.modules.batchnorm._BatchNorm):
    """Of rows (n, H), with ε 1e-3; the moving average takes the biased variance."""

    def __init__(self, width, momentum):
        super().__init__(width, eps=1e-3, momentum=momentum)

    def _check_input_dim(self, x):
        pass

    def forward(self, x):
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class Toy(Classifier):
    """Dense, BatchNorm, leaky ReLU 0.1, dense; images are flattened as (H, W, channels)."""

    def __init__(self, inputs, dtype, momentum):
        super().__init__()
        k1 = inputs["init/k1"]
        self.first = nn.Linear(*k1.shape)
        self.norm = Norm(k1.shape[1], momentum)
        self.dense = nn.Linear(*inputs["init/k2"].shape)
        self.to(dtype)

    @torch.no_grad()
    def load(self, inputs):
        """Start from the case's weights."""
        for name, parameter in self.named().items():
            parameter.copy_(_as_ours(torch.from_numpy(np.array(inputs[f"init/{name}"]))))

    def named(self):
        """The vectors' names → parameters; kernels are transposed."""
        rotation = self.heads["rotation"] if "heads" in self._modules else None
        return {
            "k1": self.first.weight,
            "b1": self.first.bias,
            "gamma": self.norm.weight,
            "beta": self.norm.bias,
            "k2": self.dense.weight,
            "b2": self.dense.bias,
            **({"kr": rotation.weight, "br": rotation.bias} if rotation else {}),
        }

    def embed(self, x):
        x = x.permute(0, 2, 3, 1).flatten(1)
        return F.leaky_relu(self.norm(self.first(x)), 0.1)


def _as_ours(values):
    return values.T if values.ndim == 2 else values


class ToyStep(TrainingStep):
    """A real step that draws given numbers and keeps what went through the network, in the order of the passes."""

    def __init__(self, *args, draws=None, **kwargs):
        super().__init__(*args, **kwargs)
        self._draws, self.passes = draws or {}, []

    def random(self, purpose):
        return CannedDraws(self._draws[purpose])

    def forward(self, *views, update_averages=True):
        out = super().forward(*views, update_averages=update_averages)
        joint = torch.cat([out[view].logits for view in views])
        self._keep(torch.cat([self._views[view] for view in views]), joint)
        for view, logits in zip(views, joint.split([len(out[view].logits) for view in views]), strict=True):
            out[view].logits = logits  # so that the gradient passes through what is kept
        return out

    def network(self, images, *, update_averages=True):
        out = super().network(images, update_averages=update_averages)
        self._keep(images, out.logits)
        return out

    def teacher(self, images, *, batch_statistics=False):
        out = super().teacher(images, batch_statistics=batch_statistics)
        self._keep(images, out.logits)
        return out

    def _keep(self, images, logits):
        if logits.requires_grad:
            logits.retain_grad()
        self.passes.append((images, logits))


def channels_first(images, dtype):
    """(…, h, w, c) → (…, c, h, w)."""
    return tensor(np.moveaxis(np.asarray(images), -1, -3), dtype)


def channels_last(images):
    return images.movedim(-3, -1)


def train(case, dtype, settings, make_views, draws, describe):
    """Run all steps of a case through a real learner.

    Args:
        case: of the form with complete steps.
        dtype: of the network.
        settings: the trial's, with its algorithm.
        make_views: (t) → view → images.
        draws: (t) → purpose → numbers.
        describe: (step, losses, learner) → role → value, after the gradient and before the update.
    """
    params, inputs, fields = case.hyper, case.inputs, case.fields
    config = TrialConfig(
        batch=fields["B"],
        lr=params["lr"],
        wd=params["wd"],
        ema_decay=params["ema"],
        train_kimg=params["train_kimg"],
        **settings,
    )
    model = Toy(inputs, dtype, 1 - fields["batchnorm_momentum"])
    steps = params["train_kimg"] * 1024 / fields["B"]  # the reference counts images: a training may end within a step
    facts = make_facts(classes=fields["C"], steps=steps, batch=fields["B"], width=fields["H"], dtype=dtype)
    learner = Learner(config, model, facts)
    for network in (model, learner.ema_model):
        network.load(inputs)
    collected = Collected()
    for t in range(case.number_of_steps()):
        number = fields["step0"] / fields["B"] + t
        targets = tensor(inputs["targets"][t], dtype)
        step = ToyStep(learner, number, make_views(t), targets, draws=draws(t))
        rate = learning_rate(config, number)
        decayed = 0.5 * sum(p.square().sum() for p in decayed_of(learner))
        losses = learner.losses(step)
        values = {"lr": rate, "loss_wd": decayed.detach(), "total": losses.total + config.wd * decayed.detach()}
        learner.descend(losses, rate)
        learner.state = {**learner.state, **{name: value.detach() for name, value in step.next.items()}}
        values |= describe(step, losses, learner)
        for i, (_, logits) in enumerate(step.passes):
            values[f"logits/{i}"] = logits
            if logits.requires_grad:
                values[f"grad_logits/{i}"] = torch.zeros_like(logits) if logits.grad is None else logits.grad
        values |= {f"after/{name}": _as_ours(value) for name, value in model.named().items()}
        values |= {"after/mm": model.norm.running_mean, "after/mv": model.norm.running_var}
        collected.add(values)
    averaged = learner.ema_model
    test = learner.predict(channels_first(inputs["test"], dtype)).softmax(1)
    return {
        **collected.result(),
        **{f"ema/{name}": _as_ours(value) for name, value in averaged.named().items()},
        "ema_softmax": test,
    }


def decayed_of(learner):
    """The kernels that weight decay acts on."""
    return [p for group in learner.optimizer.param_groups if group["weight_decay"] for p in group["params"]]
