"""FixMatch + SAW, with two strong views; its class weights by themselves."""

import torch

from cissl.algorithms.saw.class_weights import class_weights, predicted_counts
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor, with_two_strong_views

VIEWS = {"labeled": "x", "weak": "weak", "strong": "strong1", "strong2": "strong2"}


def run(case, dtype):
    return run_weights(case, dtype) if case.kind == "weights" else run_sequence(case, dtype)


def run_weights(case, dtype):
    hyper = case.hyper
    counts, normalize = tensor(case.inputs["counts"], dtype), hyper["normalize"] or 0.0
    return {"weights": class_weights(counts, hyper["scheme"], hyper["constant"], normalize)}


def run_sequence(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    length = hyper["steps_per_epoch"]
    settings = {
        "saw.constant": hyper["constant"],
        "saw.normalize": hyper["normalize"] or 0.0,
        "saw.scheme": hyper.get("scheme", "effective"),
        "saw.epoch": length,
    }
    method = make_method("fixmatch+saw", confidence=hyper["tau"], wu=hyper["lambda_u"], **settings)
    with_two_strong_views(method)
    counts = tensor(inputs["class_counts"], dtype)
    facts = make_facts(classes=len(counts), labeled_counts=counts, unlabeled=hyper["N"], steps=10**9, dtype=dtype)
    state = method.state(facts)
    for name, role in (("saw.table", "initial_stored_probs"), ("saw.weights", "initial_weights_u")):
        if role in inputs:
            state[name] = tensor(inputs[role], torch.float64).to(dtype).expand_as(state[name]).clone()
    collected = Collected()
    for moment, number in zip(case.steps, numbers(case.steps, length), strict=True):
        leaves = {view: tensor(moment.inputs[f"logits_{name}"], dtype, gradient=True) for view, name in VIEWS.items()}
        step = CannedStep(
            method,
            facts,
            leaves,
            tensor(moment.inputs["labels"], dtype),
            state=state,
            number=number,
            index={"unlabeled": tensor(moment.inputs["idx_u"], dtype)},
        )
        before = state["saw.weights"]
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "inputs/weights_x": method.add_ons[0]._weights(facts.labeled_counts, facts),
                "inputs/weights_u": before,
                "pseudo_label": losses.pseudo.classes,
                "mask": losses.pseudo.weights,
                "loss_x": losses.labeled["labeled"],
                "loss_u": losses.unlabeled["unlabeled"],
                **{f"grad_{name}": gradient(leaves[view]) for view, name in VIEWS.items()},
                "pseudo_counts": predicted_counts(state["saw.table"]),
                "next_weights_u": state["saw.weights"],
            }
        )
    return {**collected.result(), "final_stored_probs": state["saw.table"]}


def numbers(steps, length):
    """Each step's number; an epoch of which the case shows fewer steps is its end where another follows."""
    epochs = [int(moment.inputs["epoch"]) for moment in steps]
    for i, epoch in enumerate(epochs):
        first, shown = epochs.index(epoch), epochs.count(epoch)
        left_out = length - shown if epoch != epochs[-1] else 0
        yield epoch * length + left_out + i - first
