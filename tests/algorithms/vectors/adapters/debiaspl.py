"""DebiasPL, step after step on given logits, with one or two views."""

from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor


def run(case, dtype):
    hyper, two = case.hyper, case.hyper["multiviews"]
    method = make_method(
        "debiaspl",
        confidence=hyper["threshold"],
        wu=hyper["lambda_u"],
        tau=hyper["tau"],
        qhat_m=hyper["qhat_m"],
        lambda_cld=hyper["lambda_cld"] if hyper["CLDLoss"] else 0.0,
        multiviews=two,
    )
    base, collected, state = method.base, Collected(), None
    sides = {"weak": base.weak_views, "strong": base.strong_views}
    names = {"labeled": "x"} | {
        view: f"{side}{i + 1}" if two else side for side, views in sides.items() for i, view in enumerate(views)
    }
    for t, moment in enumerate(case.steps):
        leaves = {view: tensor(moment.inputs[f"logits_{name}"], dtype, gradient=True) for view, name in names.items()}
        facts = make_facts(classes=leaves["labeled"].shape[1], dtype=dtype)
        state = state or initial(case, method.state(facts), dtype)
        step = CannedStep(method, facts, leaves, tensor(moment.inputs["labels"], dtype), state=state, number=t)
        losses = step.run()
        losses.total.backward()
        collected.add(
            {
                "inputs/qhat": state["qhat"],
                "new_qhat": step.after["qhat"],
                "loss_x": losses.labeled_sum,
                "loss_u": losses.unlabeled["unlabeled"],
                "loss_cld": losses.unlabeled.get("cld"),
                "loss": losses.total,
                **{f"grad_{name}": gradient(leaves[view]) for view, name in names.items()},
                "grad_weak": sum(gradient(leaves[view]).abs().sum() for view in base.weak_views),
                **labels("mean" if two else "", losses.pseudo),
                **(each_view(step) if two else {}),
            }
        )
        state = step.after
    return collected.result()


def initial(case, state, dtype):
    """The state at the start; the case may give its running mean."""
    mean = case.inputs.get("initial_qhat")
    return state if mean is None else {**state, "qhat": tensor(mean, dtype).expand_as(state["qhat"]).clone()}


def each_view(step):
    """The labels of both weak views by themselves."""
    base, found = step.method.base, {}
    for i, weak in enumerate(step.shared["weak"], start=1):
        found |= labels(f"{i}", base.choose(step, base.debiased(step, weak)))
    return found


def labels(suffix, pseudo):
    return {
        f"debiased{suffix}": pseudo.probabilities,
        f"pseudo_label{suffix}": pseudo.classes,
        f"mask{suffix}": pseudo.weights,
    }
