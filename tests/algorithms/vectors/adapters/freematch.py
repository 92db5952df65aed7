"""FreeMatch, step after step on given logits."""

from cissl.testing import make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, loss_level_step, tensor

STATE = {"mean": "p_model", "histogram": "label_hist", "threshold": "time_p"}


def run(case, dtype):
    params = case.hyper
    method = make_method(
        "freematch",
        ema_p=params["ema_p"],
        ent_loss_ratio=params["ent_loss_ratio"],
        wu=params["lambda_u"],
        use_quantile=params["use_quantile"],
        clip_thresh=0.95 if params["clip_thresh"] else 1.0,
        temperature=0.0 if params["hard_label"] else params["T"],
    )
    facts = make_facts(classes=case.fields["C"], dtype=dtype)
    initial = {name: tensor(case.inputs[f"init/{role}"], dtype) for name, role in STATE.items()}
    state, collected = {**method.state(facts), **initial}, Collected()
    for t in range(case.number_of_steps()):
        step, losses, gradients = loss_level_step(case, t, method, facts, state, dtype)
        state = step.after
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_entropy": losses.unlabeled["fairness"],
                "loss_total": losses.total,
                "mask": losses.pseudo.weights,
                "pseudo_labels": losses.pseudo.classes if params["hard_label"] else losses.pseudo.probabilities,
                **{role: state[name] for name, role in STATE.items()},
                **gradients,
            }
        )
    return collected.result()
