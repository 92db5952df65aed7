"""FixMatch + DASO, step after step on given features."""

import torch

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "weak", "strong": "strong"}
HEAD = ("weight", "bias")


def run(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    method = make_method(
        "fixmatch+daso",
        confidence=hyper["confidence_threshold"],
        wu=hyper["unlabeled_loss_weight"],
        **{
            "daso.proto_temp": hyper["T_proto"],
            "daso.dist_temp": hyper["T_dist"],
            "daso.interp_alpha": None if hyper["with_dist_aware"] else hyper["interp_alpha"],
            "daso.psa_loss_weight": hyper["psa_loss_weight"],
            "daso.queue_size": hyper["queue_max_size"],
            "daso.pretrain_steps": hyper["pretrain_steps"],
            "daso.pl_dist_update_period": hyper["pl_dist_update_period"],
            "daso.logit_adjust": hyper["logit_adjust_tau"] if hyper["logit_adjust"] else 0.0,
        },
    )
    counts, leaves = inputs["class_counts"], {name: tensor(inputs[name], dtype, gradient=True) for name in HEAD}
    width = leaves["weight"].shape[1]
    facts = make_facts(classes=len(counts), labeled_counts=counts, width=width, steps=10**9, dtype=dtype)
    state = method.state(facts)
    for name, role in (("daso.prototypes", "initial_prototypes"), ("daso.counts", "initial_pl_counts")):
        start = torch.as_tensor(inputs.get(role, 0)).to(state[name].dtype)
        state[name] = start.expand_as(state[name]).clone()
    collected = Collected()
    for moment in case.steps:
        state = run_step(method, facts, moment, state, leaves, collected)
    return collected.result() | {f"bank_{c}": rows for c, rows in enumerate(banks(state))}


def run_step(method, facts, moment, state, head, collected):
    """One step, whose values are collected; returns the state after it."""
    given, dtype = moment.inputs, facts.dtype
    features = {view: tensor(given[f"features_{role}"], dtype, gradient=True) for view, role in VIEWS.items()}
    head = {name: leaf.detach().requires_grad_() for name, leaf in head.items()}
    outputs = {view: Outputs(f @ head["weight"].T + head["bias"], f) for view, f in features.items()}
    step = CannedStep(
        method,
        facts,
        outputs,
        tensor(given["labels"], dtype),
        state=state,
        number=int(given["iteration"]),
        networks=[Outputs(torch.zeros(0), tensor(given["features_ema_x"], dtype))],
    )
    losses = step.run()
    losses.total.backward()
    after = step.after
    collected.add(
        {
            "inputs/pretraining": state["daso.pretraining"],
            "inputs/pl_counts": state["daso.counts"],
            "linear_label": outputs["weak"].logits.argmax(1),
            "semantic_label": step.shared["daso.targets"].argmax(1),
            "pseudo_label": losses.pseudo.classes,
            "confidence": losses.pseudo.probabilities.amax(1),
            "mask": losses.pseudo.weights,
            "loss_cls": losses.labeled["labeled"],
            "loss_cons": losses.unlabeled["unlabeled"],
            "loss_assign": losses.unlabeled["daso"],
            **{f"grad_features_{role}": gradient(features[view]) for view, role in VIEWS.items()},
            **{f"grad_{name}": gradient(leaf) for name, leaf in head.items()},
            "prototypes": after["daso.prototypes"],
            "bank_sizes": torch.tensor([len(rows) for rows in banks(after)]),
            "new_pl_counts": after["daso.counts"],
            "pretraining_after": after["daso.pretraining"],
        }
    )
    return after


def banks(state):
    """The rows remembered of each class, oldest first."""
    for rows, seen in zip(state["daso.bank"], state["daso.seen"].tolist(), strict=True):
        yield rows[:seen] if seen < len(rows) else rows.roll(-(seen % len(rows)), 0)
