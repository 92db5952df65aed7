"""CoMatch, step after step on given logits and vectors."""

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "weak", "strong": "strong_0", "strong2": "strong_1"}


def run(case, dtype):
    params, inputs, fields = case.hyper, case.inputs, case.fields
    method = make_method(
        "comatch",
        wu=params["lam_u"],
        confidence=params["thr"],
        low_dim=fields["d"],
        **{key: params[key] for key in ("lam_c", "temperature", "contrast_th", "alpha", "queue_batch", "da_len")},
    )
    facts = make_facts(classes=fields["C"], batch=fields["B"], dtype=dtype)
    K = fields["queue_size"]  # of B + U rows a step, where U need not be a multiple of B
    state = method.state(facts) | {
        "memory": facts.full((K, fields["d"]), 0),
        "memory_classes": facts.full((K, fields["C"]), 0),
    }
    first = 1000 * params["queue_batch"] * params["epoch"]  # in later epochs nothing waits for the memory
    collected = Collected()
    for t in range(case.number_of_steps()):
        roles = [role for role in inputs if role.startswith(("logits_", "feat_"))]
        leaves = {role: tensor(inputs[role][t], dtype, gradient=True) for role in roles}
        unused = tensor(inputs["logits_strong_0"][t], dtype, gradient=True)  # of the second strong view
        leaves.setdefault("logits_strong_1", unused)
        outputs = {
            view: Outputs(leaves[f"logits_{name}"], heads={"projection": leaves[f"feat_{name}"]})
            for view, name in VIEWS.items()
        }
        step = CannedStep(method, facts, outputs, tensor(inputs["targets"][t], dtype), state=state, number=first + t)
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_contrast": losses.unlabeled["contrast"],
                "loss_total": losses.total,
                "mask_mean": losses.pseudo.weights.to(dtype).mean(),
                "edges_mean": step.measured["edges"],
                "queue_feats": state["memory"],
                "queue_probs": state["memory_classes"],
                "da_mean": state["predictions"].sum(0) / min(t + 1, params["da_len"]),
                **{f"grad_{role}": gradient(leaf) for role, leaf in leaves.items()},
            }
        )
    return collected.result()
