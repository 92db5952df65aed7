"""ADELLO and FlexDA, at some steps of a training on given logits."""

import math

import torch

from cissl.algorithms.adello.target_distribution import exponent
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "w", "strong": "s"}


def run(case, dtype):
    hyper, fields, inputs = case.hyper, case.fields, case.inputs
    steps, U = case.number_of_steps(), fields["U"]
    # The authors' temperature is inferred where one is given and distillation has a first step.
    start, temperature = hyper["distill_start_iter"], hyper["distill_T"]
    method = make_method(
        "adello",
        confidence=hyper["p_cutoff"],
        alpha_min=hyper["adello_alpha_min"],
        alpha_k=hyper["adello_k"],
        ema_p=hyper["adello_ema_p"],
        lambda_distill=hyper["lambda_distill"] if hyper["distill_complement"] else 0.0,
        distill_start=start or 0,
        distill_temperature=temperature or 1.0,
        distill_inferred=temperature is not None and start is not None,
        exclude_labeled="labeled_too" in inputs,
    )
    # Every row is an image of its own, so that the flags can be what they are in each step.
    flags = tensor(inputs["labeled_too"], dtype).bool().flatten() if "labeled_too" in inputs else None
    facts = make_facts(
        classes=fields["C"],
        labeled_counts=fields["labeled_counts"],
        unlabeled=steps * U,
        labeled_too=flags,
        steps=fields["num_train_iter"],
        dtype=dtype,
    )
    state, collected = method.state(facts), Collected()
    for t, number in enumerate(fields["it"]):
        leaves = {view: tensor(inputs[role][t], dtype, gradient=True) for view, role in VIEWS.items()}
        index = {"unlabeled": torch.arange(t * U, (t + 1) * U)}
        targets = tensor(inputs["y"][t], dtype)
        step = CannedStep(method, facts, leaves, targets, state=state, number=number, index=index)
        losses = step.run()
        losses.total.backward()
        state = step.after
        begun = hyper["distill_complement"] and "distill" in losses.unlabeled
        collected.add(
            {
                "alpha": exponent(step.progress, method.base.settings.alpha_min, method.base.settings.alpha_k),
                "sup_loss": losses.labeled_sum,
                "unsup_loss": losses.unlabeled["unlabeled"],
                "distill_loss": losses.unlabeled["distill"] if begun else math.nan,
                "distill_temperature": method.base.temperature(step) if begun else math.nan,
                "total_loss": losses.total,
                "mask": losses.pseudo.weights,
                "pseudo_label": losses.pseudo.classes,
                "p_hat": state["unlabeled_shares"],
                "grad_x": gradient(leaves["labeled"]),
                "grad_s": gradient(leaves["strong"]),
            }
        )
    return collected.result()
