"""CDMAD on given logits, and in whole steps of the authors' loop: their Adam, average and decay stand here."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "w", "strong": "s1", "strong2": "s2"}


def run(case, dtype):
    kinds = {"loss": run_losses, "eval": run_evaluation, "ema": run_average, "trajectory": run_trajectory}
    return kinds[case.kind](case, dtype)


def method_of(hyper):
    """Epochs are counted as steps; debiasing is on in those after `debiasstart`."""
    return make_method("cdmad", confidence=hyper["tau"], debias_start=hyper["debiasstart"] + 1)


def run_losses(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    method, facts = method_of(hyper), make_facts(classes=case.fields["C"], dtype=dtype)
    collected = Collected()
    for t in range(case.number_of_steps()):
        leaves = {view: tensor(inputs[role][t], dtype, gradient=True) for view, role in VIEWS.items()}
        blank = Outputs(tensor(inputs["blank"][t], dtype)[None])
        targets = tensor(inputs["y"][t], dtype)
        step = CannedStep(method, facts, leaves, targets, number=hyper["epoch"], networks=[blank])
        losses = step.run()
        losses.total.backward()
        collected.add(
            {
                "pseudo": losses.pseudo.probabilities,
                "mask": losses.pseudo.weights,
                "Lx": losses.labeled_sum,
                "Lu": losses.unlabeled["unlabeled"],
                "loss": losses.total,
                **{f"grad_{role}": gradient(leaves[view]) for view, role in VIEWS.items() if view != "weak"},
            }
        )
    return collected.result()


def run_evaluation(case, dtype):
    logits, blank = (tensor(case.inputs[role], dtype) for role in ("logits", "blank"))
    y, classes = tensor(case.inputs["y"], dtype), case.fields["C"]
    method, facts = make_method("cdmad"), make_facts(classes=classes, dtype=dtype)
    state = method.prepare(lambda image: Outputs(blank.expand(len(image), -1)), facts)
    right = lambda scores: torch.bincount(y[scores.argmax(1) == y], minlength=classes)  # noqa: E731
    return {"correct": right(logits), "correct_debiased": right(method.predict(Outputs(logits), state))}


def run_average(case, dtype):
    """The authors' average alone, so that the trajectory's is known to be theirs."""
    inputs, found = case.inputs, {}
    named = lambda kind: {  # noqa: E731
        role.partition("/")[2]: tensor(value, torch.float32)
        for role, value in inputs.items()
        if role.startswith(f"{kind}/")
    }
    averaged = named("init_ema")
    found |= {f"start_model/{name}": value.clone() for name, value in averaged.items()}
    for t in range(case.number_of_steps()):
        model = named(f"before{t}")
        average(averaged, model, case.hyper)
        found |= entries(f"model{t}", model) | entries(f"ema{t}", averaged)
    return found


def average(averaged, model, hyper):
    """The moving average of everything that is a float, in place, and then the decay of the model."""
    for name, value in model.items():
        if value.is_floating_point():
            averaged[name].mul_(hyper["ema_decay"]).add_(value * (1 - hyper["ema_decay"]))
            value.mul_(1 - hyper["wd"] * hyper["lr"])


def entries(kind, state):
    return {f"{kind}/{name}": value.clone() for name, value in state.items()}


class Net(nn.Module):
    """The vectors' network."""

    def __init__(self, inputs, classes, dtype):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)
        self.to(dtype)
        self.load_state_dict({name: tensor(inputs[f"init/{name}"], dtype) for name in self.floats()}, strict=False)

    def forward(self, images):
        return self.fc(F.leaky_relu(self.bn(self.conv(images)), 0.1).mean((2, 3)))

    def floats(self):
        return {name: value for name, value in self.state_dict().items() if value.is_floating_point()}


class NetStep(CannedStep):
    """A step whose network is real."""

    def __init__(self, net, images, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._net, self._images = net, images

    def forward(self, *views):
        assert len(views) == 1, "the authors' passes are separate"
        return {views[0]: self.network(self._images[views[0]])}

    def network(self, images, *, update_averages=True, replicated=False):
        assert update_averages
        return Outputs(self._net(images))


def run_trajectory(case, dtype):
    hyper, inputs, classes = case.hyper, case.inputs, case.fields["C"]
    method = method_of(hyper)
    facts = make_facts(classes=classes, side=case.fields["blank_size"], dtype=dtype)
    net = Net(inputs, classes, dtype)
    averaged = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=hyper["lr"])
    found, collected = {}, Collected()
    for t in range(case.number_of_steps()):
        images = {view: tensor(inputs[role][t], dtype) for view, role in VIEWS.items()}
        step = NetStep(net, images, method, facts, {}, tensor(inputs["y"][t], dtype), number=hyper["epoch"])
        losses = step.run()
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        with torch.no_grad():
            average(averaged.floats(), net.floats(), hyper)
        found |= {f"blank{t}": step.shared["blank"], f"pseudo{t}": losses.pseudo.probabilities}
        found |= entries(f"model{t}", net.floats()) | entries(f"ema{t}", averaged.floats())
        collected.add({"Lx": losses.labeled_sum.detach(), "Lu": losses.unlabeled["unlabeled"].detach()})
    averaged.eval()
    with torch.no_grad():
        state = method.prepare(lambda images: Outputs(averaged(images)), facts)
        debiased = method.predict(Outputs(averaged(tensor(inputs["test"], dtype))), state)
    return found | collected.result() | {"test_debiased": np.asarray(debiased)}
