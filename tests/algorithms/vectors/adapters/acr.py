"""ACR, step after step on given logits of both heads, over several epochs."""

import types

import torch

from cissl.algorithms.acr.anchors import present
from cissl.algorithms.acr.method import labeled_shares
from cissl.algorithms.contract import Outputs
from cissl.algorithms.maths.adjustment import log_adjustment
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "w", "strong": "s1", "strong2": "s2"}


def two_heads(inputs, t, dtype):
    """Role → leaf, and view → outputs, of one step."""
    roles = [f"{role}_{head}" for role in VIEWS.values() for head in "ab"]
    leaves = {role: tensor(inputs[role][t], dtype, gradient=True) for role in roles}
    outputs = {
        view: Outputs(leaves[f"{role}_a"], heads={"balanced": leaves[f"{role}_b"]}) for view, role in VIEWS.items()
    }
    return leaves, outputs


def losses_and_gradients(losses, leaves):
    """What ACR's and BOAT's vectors give alike."""
    losses.total.backward()
    return {
        "Lx": losses.labeled["labeled"],
        "Lx_b": losses.labeled["labeled_balanced"],
        "Lu": losses.unlabeled["unlabeled"],
        "Lu_b": losses.unlabeled["unlabeled_balanced"],
        "loss": losses.total,
        **{f"grad_{role}": gradient(leaf) for role, leaf in leaves.items()},
    }


def run(case, dtype):
    hyper, fields, inputs = case.hyper, case.fields, case.inputs
    length, steps, U = fields["steps_per_epoch"], case.number_of_steps(), fields["U"]
    method = make_method(
        "acr",
        temperature=hyper["T"],
        confidence=hyper["threshold"],
        epoch=length,
        **{name: hyper[name] for name in ("ema_u", "tau1", "tau12", "tau2", "est_epoch")},
    )
    # Every row is an image of its own, so that the flags can be what they are in each step.
    excluded = tensor(inputs["excluded"], dtype).bool().flatten()
    facts = make_facts(
        classes=fields["C"],
        labeled_counts=fields["labeled_counts"],
        unlabeled=steps * U,
        labeled_too=excluded,
        dtype=dtype,
    )
    pi = labeled_shares(facts)
    state, collected, epochs = method.state(facts), Collected(), Collected()
    for t in range(steps):
        survey = types.SimpleNamespace(number=t, facts=facts)
        state = {**state, **method.periodically(t, survey, state, facts)}
        if t % length == 0:
            epochs.add({"tau": state["tau"], "adjustment_l1": log_adjustment(pi, state["tau"])})
        leaves, outputs = two_heads(inputs, t, dtype)
        index = {"unlabeled": torch.arange(t * U, (t + 1) * U)}
        step = CannedStep(method, facts, outputs, tensor(inputs["y"][t], dtype), state=state, number=t, index=index)
        losses = step.run()
        weak_b = leaves["w_b"].detach()
        confident, classes = method.base.confident(weak_b), weak_b.argmax(1)
        estimating = t // length > hyper["est_epoch"]
        now = present(classes, confident & ~excluded[index["unlabeled"]] & estimating, fields["C"])
        state = step.after
        collected.add(
            {
                "target_a": step.shared["plain"].classes,
                "mask_a": step.shared["plain"].weights,
                "target_b": losses.pseudo.classes,
                "mask_b": losses.pseudo.weights,
                "estimate_class": classes,
                "estimate_mask": confident,
                "now": now,
                "u_py": state["unlabeled_shares"],
                "kl_sum": state["divergences"],
                **losses_and_gradients(losses, leaves),
            }
        )
    return collected.result() | epochs.result()
