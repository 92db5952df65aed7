"""CPE, step after step on given logits of three branches and three experts."""

import torch

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "w", "strong": "s"}
BRANCHES, EXPERTS = "HMT", (1, 2, 3)
NAMES = {1: "_1", 2: "", 3: "_3"}


def run(case, dtype):
    hyper, fields, inputs = case.hyper, case.fields, case.inputs
    method = make_method(
        "cpe",
        confidence=hyper["p_cutoff"],
        wu=hyper["ulb_loss_ratio"],
        by_frequency=False,
        cut1=hyper["cut1"],
        cut2=hyper["cut2"],
        **{f"la_tau{k}": hyper[f"la_tau_lb{k}"] for k in EXPERTS},
    )
    facts = make_facts(classes=fields["C"], labeled_counts=fields["labeled_counts"], dtype=dtype)
    state, collected = method.state(facts), Collected()
    for t in range(case.number_of_steps()):
        roles = [f"{role}_{b}{k}" for role in VIEWS.values() for b in BRANCHES for k in EXPERTS]
        leaves = {role: tensor(inputs[role][t], dtype, gradient=True) for role in roles}
        outputs = {}
        for view, role in VIEWS.items():
            branches = [torch.stack([leaves[f"{role}_{b}{k}"] for k in EXPERTS], 1) for b in BRANCHES]
            outputs[view] = Outputs(torch.zeros(0), heads={"experts": torch.stack(branches, 1)})
        step = CannedStep(method, facts, outputs, tensor(inputs["y"][t], dtype), state=state, number=t)
        losses = step.run()
        losses.total.backward()
        values = {"total_loss": losses.total}
        for k, name in NAMES.items():
            pseudo = step.shared["pseudo"][k - 1]
            values |= {
                f"sup_loss{k}": losses.labeled[f"labeled{name}"],
                f"unsup_loss{k}": losses.unlabeled[f"unlabeled{name}"],
                f"mask{k}": pseudo.weights,
                f"pseudo_label{k}": pseudo.classes,
            }
        collected.add(values | {f"grad_{role}": gradient(leaf) for role, leaf in leaves.items()})
    return collected.result()
