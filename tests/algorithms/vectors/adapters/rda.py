"""RDA, step after step on given logits of both heads."""

from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "w", "strong": "s"}


def run(case, dtype):
    hyper, inputs, steps = case.hyper, case.inputs, case.number_of_steps()
    method = make_method("rda", wu=hyper["ulb_loss_ratio"], nb=hyper["tracked"])
    facts = make_facts(classes=case.fields["C"], dtype=dtype)
    state, collected, tables = method.state(facts), Collected(), Collected()
    for t in range(steps):
        roles = [f"{role}_{head}" for role in VIEWS.values() for head in "ar"]
        leaves = {role: tensor(inputs[role][t], dtype, gradient=True) for role in roles}
        outputs = {
            view: Outputs(leaves[f"{role}_a"], heads={"reverse": leaves[f"{role}_r"]}) for view, role in VIEWS.items()
        }
        y, complementary = (tensor(inputs[role][t], dtype) for role in ("y", "complementary"))
        draws = {"complementary": [complementary - (complementary > y).long()]}
        step = CannedStep(method, facts, outputs, y, state=state, number=t, draws=draws)
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "sup_loss": losses.labeled["labeled"],
                "reverse_loss": losses.labeled["reverse_labeled"],
                "unsup_loss_cd": losses.unlabeled["unlabeled"],
                "unsup_loss_ca": losses.unlabeled["reverse"],
                "total_loss": losses.total,
                "aligned": losses.pseudo.probabilities,
                "target": losses.pseudo.classes,
                "target_reverse": step.shared["reverse_targets"],
                "slot": state["slot"],
                **{f"grad_{role}": gradient(leaves[role]) for role in roles if not role.startswith("w")},
            }
        )
        if t in case.fields.get("distri_steps", range(steps)):
            rows = min(steps, hyper["tracked"])
            names = {"distri": "distribution", "distri_reverse": "reverse_distribution"}
            tables.add({role: state[name][:rows] for role, name in names.items()})
    return collected.result() | tables.result()
