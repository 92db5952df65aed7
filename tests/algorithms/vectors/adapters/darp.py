"""FixMatch + DARP, with two strong views; its filter, its solver and its estimate of q by themselves."""

import numpy as np
import torch

from cissl.algorithms.darp.class_distribution import confusions, estimated_counts
from cissl.algorithms.darp.refinery import class_scales, filtered, most_probable, solve
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor, with_two_strong_views

VIEWS = {"labeled": "x", "weak": "weak", "strong": "strong1", "strong2": "strong2"}


def run(case, dtype):
    kinds = {
        "filter": run_filter,
        "solver": run_solver,
        "sequence": run_sequence,
        "estimate_distribution": run_estimate,
    }
    return kinds[case.kind](case, dtype)


def run_filter(case, dtype):
    table, counts = tensor(case.inputs["probs"], dtype), tensor(case.inputs["target_counts"], torch.float32)
    selected = most_probable(table, counts, case.hyper["alpha"])
    return {
        "selected": selected,
        "class_scale": class_scales(table, selected, counts),
        "filtered": filtered(table, counts, case.hyper["alpha"]),
    }


def run_solver(case, dtype):
    F, q = tensor(case.inputs["probs"], dtype), tensor(case.inputs["target_counts"], torch.float32)
    refined, unsolved = solve(F, q, rounds=case.hyper["iterations"], tolerance=case.hyper["newton_tol"])
    assert unsolved == 0
    return {"refined": refined, "row_sums": refined.sum(1), "column_sums": refined.sum(0)}


def run_estimate(case, dtype):
    validation, unlabeled = (tensor(case.inputs[f"logits_{kind}"], dtype).softmax(1) for kind in ("val", "unlabeled"))
    K = confusions(validation, tensor(case.inputs["labels_val"], dtype))
    return {"estimated_counts": estimated_counts(K, unlabeled), "condition_number": torch.linalg.cond(K)}


def run_sequence(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    length = 1 + max(moment.inputs["batch_idx"] for moment in case.steps)
    settings = {
        "darp.alpha": hyper["alpha"],
        "darp.warm": hyper["warm"] * length,
        "darp.epoch": length,
        "darp.num_iter": hyper["num_iter"],
        "darp.iter_t": hyper["iterations"],
        "darp.tol": hyper["newton_tol"],
    }
    method = make_method("fixmatch+darp", confidence=hyper["tau"], wu=hyper["lambda_u"], **settings)
    with_two_strong_views(method)
    counts = tensor(inputs["labeled_counts"], dtype)
    facts = make_facts(classes=len(counts), labeled_counts=counts, unlabeled=hyper["N"], steps=10**9, dtype=dtype)
    np.testing.assert_allclose(method.add_ons[0]._target_counts(facts), inputs["target_counts"], rtol=1e-6)
    state = method.state(facts)
    if "initial_stored_probs" in inputs:
        start = tensor(inputs["initial_stored_probs"], torch.float64)
        state["darp.table"] = start.to(dtype).expand_as(state["darp.table"]).clone()
    collected = Collected()
    for moment in case.steps:
        leaves = {view: tensor(moment.inputs[f"logits_{name}"], dtype, gradient=True) for view, name in VIEWS.items()}
        step = CannedStep(
            method,
            facts,
            leaves,
            tensor(moment.inputs["labels"], dtype),
            state=state,
            number=int(moment.inputs["epoch"]) * length + int(moment.inputs["batch_idx"]),
            index={"unlabeled": tensor(moment.inputs["idx_u"], dtype)},
        )
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "pseudo_label": losses.pseudo.classes,
                "mask": losses.pseudo.weights,
                "loss_x": losses.labeled["labeled"],
                "loss_u": losses.unlabeled["unlabeled"],
                **{f"grad_{name}": gradient(leaves[view]) for view, name in VIEWS.items()},
                "stored_probs": state["darp.table"],
                "stored_refined": state["darp.refined"],
                "solver_input": filtered(state["darp.table"], method.add_ons[0]._target_counts(facts), hyper["alpha"]),
                "refined_all": state["darp.refined"],
            }
        )
    return {
        **collected.result(),
        "final_stored_probs": state["darp.table"],
        "final_stored_refined": state["darp.refined"],
    }
