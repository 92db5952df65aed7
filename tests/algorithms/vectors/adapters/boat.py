"""BOAT, step after step on given logits of both heads."""

from cissl.algorithms.acr.method import labeled_shares
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, tensor
from tests.algorithms.vectors.adapters.acr import losses_and_gradients, two_heads


def run(case, dtype):
    hyper, fields, inputs = case.hyper, case.fields, case.inputs
    method = make_method(
        "boat",
        confidence=hyper["threshold"],
        tw=hyper["Tw"],
        **{name: hyper[name] for name in ("emap", "tau", "tau2", "tau3", "tau4")},
    )
    facts = make_facts(classes=fields["C"], labeled_counts=fields["labeled_counts"], dtype=dtype)
    state, collected = method.state(facts), Collected()
    for t in range(case.number_of_steps()):
        leaves, outputs = two_heads(inputs, t, dtype)
        step = CannedStep(method, facts, outputs, tensor(inputs["y"][t], dtype), state=state, number=t)
        losses = step.run()
        state = step.after
        collected.add(
            {
                "target_a": step.shared["plain"].classes,
                "mask": step.shared["plain"].weights,
                "target_b": losses.pseudo.classes,
                "weight_b": losses.pseudo.weights,
                "adjust_x": method.base.plain_adjustment(step, labeled_shares(facts)),
                "qhat": state["plain_prior"],
                "qbal": state["balanced_prior"],
                "confm": state["mean_confidence"],
                "simm": state["mean_agreement"],
                **losses_and_gradients(losses, leaves),
            }
        )
    return collected.result()
