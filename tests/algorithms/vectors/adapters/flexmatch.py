"""FlexMatch, step after step on given logits."""

from cissl.testing import make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, loss_level_step


def run(case, dtype):
    params = case.hyper
    method = make_method(
        "flexmatch",
        confidence=params["p_cutoff"],
        wu=params["lambda_u"],
        thresh_warmup=params["thresh_warmup"],
        hard_label=params["hard_label"],
    )
    facts = make_facts(classes=case.fields["C"], unlabeled=params["ulb_dest_len"], dtype=dtype)
    state, collected = method.state(facts), Collected()
    for t in range(case.number_of_steps()):
        step, losses, gradients = loss_level_step(case, t, method, facts, state, dtype, index="idx_ulb")
        state = step.after
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_total": losses.total,
                "mask": losses.pseudo.weights,
                "targets_unlabeled": losses.pseudo.classes if params["hard_label"] else losses.pseudo.probabilities,
                "classwise_acc": state["learning"],
                "selected_label": state["selected"],
                **gradients,
            }
        )
    return collected.result()
