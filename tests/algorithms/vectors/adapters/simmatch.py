"""SimMatch, step after step on given logits and vectors; the variant ``authors`` with a teacher's."""

import torch

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor


def run(case, dtype):
    params, inputs, fields = case.hyper, case.inputs, case.fields
    method = make_method(
        "simmatch",
        variant=params["variant"],
        wu=params["lambda_u"],
        lambda_in=params["lambda_in"],
        tt=params["tt"],
        st=params["st"],
        c_smooth=params["c_smooth"],
        confidence=params["threshold"],
        da_len=params["DA_len"] if params["DA"] else 0,
        proj_size=len(inputs["init/bank"]),
        bank_momentum=params["bank_m"],
        start=params["start_step"] + 1,
    )
    facts = make_facts(classes=fields["C"], labeled_counts=[fields["K"]] + [0] * (fields["C"] - 1), dtype=dtype)
    state = method.state(facts) | {
        "bank": tensor(inputs["init/bank"], dtype).T,
        "bank_classes": tensor(inputs["init/labels_bank"], dtype),
    }
    collected, authors = Collected(), params["variant"] == "authors"
    for t in range(case.number_of_steps()):
        roles = [role for role in inputs if role.startswith(("logits_", "feat_"))]
        leaves = {role: tensor(inputs[role][t], dtype, gradient=True) for role in roles}
        joint = {
            view: Outputs(leaves[f"logits_{name}"], heads={"projection": leaves.get(f"feat_{name}")})
            for view, name in (("labeled", "x"), ("weak", "weak"), ("strong", "strong"))
        }
        logits = torch.cat([torch.zeros_like(leaves["logits_x"]), leaves["logits_weak"]])
        vectors = torch.cat([leaves["feat_x"], leaves["feat_weak"]])
        step = CannedStep(
            method,
            facts,
            joint,
            tensor(inputs["targets"][t], dtype),
            state=state,
            number=t + 1,  # the bank's start is given
            index={"labeled": tensor(inputs["idx_lb"][t], dtype)},
            networks=[Outputs(logits, heads={"projection": vectors})] if authors else (),
        )
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_in": losses.unlabeled["instance"],
                "loss_total": losses.total,
                "mask": losses.pseudo.weights,
                "targets_unlabeled": losses.pseudo.probabilities,
                "bank": state["bank"].T,
                "labels_bank": state["bank_classes"],
                "da_mean": state["predictions"].mean(0),
                **{f"grad_{role}": gradient(leaf) for role, leaf in leaves.items()},
            }
        )
    return collected.result()
