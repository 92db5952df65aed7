"""AdaMatch: complete steps of the toy network for the authors' variant, given logits for USB's.

The authors' variant trains the package's method and network with its authors' optimizer, schedule and average, which
are not the package's and are made here.
"""

import math

import torch

from cissl.config import TrialConfig
from cissl.testing import make_facts, make_method
from cissl.training.learner import Learner
from tests.algorithms.vectors.adapters import Collected, loss_level_step, tensor, toy


def run(case, dtype):
    return usb(case, dtype) if case.fields["variant"] == "usb" else authors(case, dtype)


def usb(case, dtype):
    params = case.hyper
    method = make_method(
        "adamatch",
        variant="usb",
        confidence=params["p_cutoff"],
        ema_p=params["ema_p"],
        wu=params["lambda_u"],
        hard_label=params["hard_label"],
    )
    facts = make_facts(classes=case.fields["C"], dtype=dtype)
    names = {"p_unlabeled": "p_model", "p_labeled": "p_target"}
    given = {name: f"init/{role}" for name, role in names.items() if f"init/{role}" in case.inputs}
    state = {**method.state(facts), **{name: tensor(case.inputs[role], dtype) for name, role in given.items()}}
    collected = Collected()
    for t in range(case.number_of_steps()):
        step, losses, gradients = loss_level_step(case, t, method, facts, state, dtype)
        state = step.after
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_total": losses.total,
                "mask": losses.pseudo.weights,
                "targets_unlabeled": losses.pseudo.classes if params["hard_label"] else losses.pseudo.probabilities,
                **{role: state[name] for name, role in names.items()},
                **gradients,
            }
        )
    return collected.result()


def authors(case, dtype):
    params, inputs, fields = case.hyper, case.inputs, case.fields
    B, C, steps = fields["B"], fields["C"], params["train_mimg"] * 2**20 / fields["B"]
    config = TrialConfig(
        algorithm="adamatch",
        batch=B,
        wd=params["wd"],
        uratio=fields["U"] // B,
        confidence=params["confidence"],
        use_cr=params["use_cr"],
        wu=params["wu"],
        ema_p=params["p_labeled_momentum"],
    )
    model = toy.Toy(inputs, dtype, 1 - params["bn_momentum"])
    width = model.first.out_features
    learner = Learner(config, model, make_facts(classes=C, steps=steps, batch=B, width=width, dtype=dtype))
    model.load(inputs)
    for group in learner.optimizer.param_groups:
        group.update(momentum=params["momentum"], nesterov=params["nesterov"])
    named = {**model.named(), "mm": model.norm.running_mean, "mv": model.norm.running_var}
    average = {name: torch.zeros_like(value) for name, value in named.items()}

    collected = Collected()
    for t in range(case.number_of_steps()):
        labeled, unlabeled = (tensor(inputs[role][t], dtype) for role in ("labeled", "unlabeled"))
        views = {"labeled": labeled[:, 0], "labeled_strong": labeled[:, 1]}
        views |= {"weak": unlabeled[:, 0], "strong": unlabeled[:, 1]}
        places = tensor(inputs["mix"][t], dtype).view(B, 2, C)  # the authors' rows: weak, strong, weak, strong, …
        number = fields["step0"] / B + t
        step = toy.ToyStep(learner, number, views, tensor(inputs["targets"][t], dtype), draws={"mix": [places]})
        rate = params["lr"] * math.cos(math.acos(params["lr_decay"]) * step.progress)
        decayed = 0.5 * sum(kernel.square().sum() for kernel in toy.decayed_of(learner)).detach()
        losses = learner.losses(step)
        learner.descend(losses, rate)
        learner.state = {**learner.state, **{name: value.detach() for name, value in step.next.items()}}
        average = {name: value.lerp(named[name].detach(), 1 - params["ema"]) for name, value in average.items()}
        a, b = (losses.measured[name] for name in ("p_labeled", "p_unlabeled"))
        alone, joint = (logits.detach() for _, logits in step.passes)
        joint = torch.cat([joint[:B], joint[-B:]])  # between them lie the unlabeled views
        mixed = joint + (alone - joint) * places.movedim(1, 0).reshape(2 * B, C)
        collected.add(
            {
                "lr": rate,
                "loss_wd": decayed,
                "loss_xe": losses.labeled["labeled"],
                "loss_xeu": losses.unlabeled["unlabeled"],
                "loss_hregbn": (alone - mixed).square().mean(),
                "klmodel": (a * (a / b).log()).sum(),
                "confidence_ratio": losses.measured["thresholds"][0],
                "mask": losses.pseudo.weights.double().mean(),
                "wu": losses.weights["unlabeled"],
                "p_labeled": a,
                "p_unlabeled": b,
                **{f"after/{name}": as_theirs(value) for name, value in named.items()},
            }
        )
    return collected.result() | {f"ema/{name}": as_theirs(value) for name, value in average.items()}


def as_theirs(value):
    """Kernels are transposed."""
    return value.T if value.ndim == 2 else value
