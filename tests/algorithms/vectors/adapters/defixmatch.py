"""DeFixMatch and its two variants, step after step on given logits."""

from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x_weak", "labeled_strong": "x_strong", "weak": "w", "strong": "s"}


def run(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    variant = "debiased" if hyper["debiased"] else "modified" if hyper["modified_fixmatch"] else "fixmatch"
    method = make_method(
        "defixmatch",
        confidence=hyper["p_cutoff"],
        wu=hyper["ulb_loss_ratio"],
        temperature=0.0 if hyper["hard_label"] else hyper["T"],
        variant=variant,
    )
    facts, collected = make_facts(classes=case.fields["C"], dtype=dtype), Collected()
    for t in range(case.number_of_steps()):
        leaves = {view: tensor(inputs[role][t], dtype, gradient=True) for view, role in VIEWS.items()}
        step = CannedStep(method, facts, leaves, tensor(inputs["y"][t], dtype), number=t)
        losses = step.run()
        losses.total.backward()
        # The reference gives the labeled images' loss where it is not subtracted, too.
        labeled = method.base.labeled_consistency(step, step.forward(*VIEWS))
        collected.add(
            {
                "sup_loss": losses.labeled_sum,
                "unsup_loss": losses.unlabeled["unlabeled"],
                "anti_unsup_loss": losses.unlabeled.get("debias", labeled),
                "total_loss": losses.total,
                "mask_unlabeled": losses.pseudo.weights,
                "mask_labeled": step.shared["labeled_pseudo"].weights,
                **{f"grad_{role}": gradient(leaves[view]) for view, role in VIEWS.items() if view != "weak"},
            }
        )
    return collected.result()
