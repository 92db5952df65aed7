"""SimPro, step after step on given logits, over several epochs."""

from cissl.algorithms.maths.adjustment import log_adjustment
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x_weak", "labeled_strong": "x_strong", "weak": "w", "strong": "s1", "strong2": "s2"}


def run(case, dtype):
    hyper, fields, inputs = case.hyper, case.fields, case.inputs
    length, tau = fields["steps_per_epoch"], hyper["tau"]
    method = make_method(
        "simpro",
        tau=tau,
        confidence=hyper["threshold"],
        ema_u=hyper["ema_u"],
        epoch=length,
        scale_ratio=fields["unlabeled_batches"] / fields["labeled_batches"],
    )
    facts = make_facts(classes=fields["C"], labeled_counts=fields["labeled_counts"], dtype=dtype)
    state, collected, epochs = method.state(facts), Collected(), Collected()
    for t in range(case.number_of_steps() + 1):
        state = {**state, **method.periodically(t, None, state, facts)}
        if t % length == 0:
            a, q = state["training_shares"], state["unlabeled_shares"]
            adjustments = {"adjustment": log_adjustment(a, tau), "adjustment_u": log_adjustment(q, tau)}
            epochs.add({"adapt": a, "estimated": q} | (adjustments if t < case.number_of_steps() else {}))
        if t == case.number_of_steps():
            break
        leaves = {view: tensor(inputs[role][t], dtype, gradient=True) for view, role in VIEWS.items()}
        step = CannedStep(method, facts, leaves, tensor(inputs["y"][t], dtype), state=state, number=t)
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "pseudo": losses.pseudo.probabilities,
                "mask": losses.pseudo.weights,
                "sum_pseudo": state["kept"],
                "count_labeled": state["labels_seen"],
                "Lx": losses.labeled_sum,
                "Lu": losses.unlabeled["unlabeled"],
                "loss": losses.total,
                **{f"grad_{role}": gradient(leaves[view]) for view, role in VIEWS.items()},
            }
        )
    by_epoch = {role: [value for value in values if value is not None] for role, values in epochs.result().items()}
    return collected.result() | by_epoch
