"""Dash, step after step on given logits, after its warm-up."""

import torch

from cissl.testing import make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, loss_level_step


def run(case, dtype):
    params = case.hyper
    method = make_method(
        "dash",
        gamma=params["gamma"],
        constant=params["C"],
        rho_min=params["rho_min"],
        temperature=params["T"],
        epoch=params["num_iter_per_epoch"],
        wu=params["lambda_u"],
    )
    facts = make_facts(classes=case.fields["C"], dtype=dtype)
    state, collected = method.state(facts), Collected()
    state["rho_init"] = torch.tensor(params["rho_init"], dtype=torch.float64)
    for t in range(case.number_of_steps()):
        number = int(case.inputs["step"][t])
        step, losses, gradients = loss_level_step(case, t, method, facts, state, dtype, number=number, stage=1)
        state = step.after
        hard = state["rho"] == params["rho_min"]
        soft = case.outputs["targets_unlabeled"][t].ndim > 1
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_total": losses.total,
                "mask": losses.pseudo.weights,
                "targets_unlabeled": losses.pseudo.probabilities if soft else losses.pseudo.classes,
                "hard": hard,
                "rho": state["rho"],
                "rho_updates": state["rho_updates"],
                **gradients,
            }
        )
    return collected.result()
