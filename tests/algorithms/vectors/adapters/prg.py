"""FixMatch + PRG or PRG^Last, step after step on given logits."""

import torch

from cissl.algorithms.prg.guidance import guidance, transition_matrix
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "w", "strong": "s"}
GRADIENTS = {"grad_x": "labeled", "grad_weak": "weak", "grad_strong": "strong"}


def run(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    settings = {
        "prg.last": hyper["last"],
        "prg.alpha": hyper["alpha"],
        "prg.nb": hyper["Nb"],
        "prg.temperature": hyper["T"],
        "prg.hard_label": hyper["hard_label"],
    }
    method = make_method("fixmatch+prg", confidence=hyper["p_cutoff"], wu=hyper["lambda_u"], **settings)
    facts = make_facts(classes=case.fields["C"], unlabeled=case.fields["dataset_size"], dtype=dtype)
    state, collected = method.state(facts), Collected()
    for t in range(case.number_of_steps()):
        leaves = {view: tensor(inputs[role][t], dtype, gradient=True) for view, role in VIEWS.items()}
        index = {"unlabeled": tensor(inputs["idx"][t], dtype)}
        step = CannedStep(method, facts, leaves, tensor(inputs["y"][t], dtype), state=state, number=t, index=index)
        losses = step.run()
        losses.total.backward()
        before, state = state, step.after
        used = before if hyper["last"] else state
        alpha = method.add_ons[0].alpha
        collected.add(
            {
                "rectified": losses.pseudo.probabilities,
                "pseudo_label": losses.pseudo.classes,
                "mask": losses.pseudo.weights,
                "mask_mean": losses.pseudo.weights.double().mean(),
                "H": transition_matrix(used["prg.transitions"], alpha),
                "H_prime": guidance(used["prg.transitions"], used["prg.shares"], alpha),
                "bank": state["prg.bank"],
                "distri": state["prg.shares"],
                "transitions": torch.movedim(state["prg.transitions"], 0, -1),
                "slot": state["prg.slot"],
                "sup_loss": losses.labeled_sum,
                "unsup_loss": losses.unlabeled["unlabeled"],
                "total_loss": losses.total,
                **{role: gradient(leaves[view]) for role, view in GRADIENTS.items()},
            }
        )
    return collected.result()
