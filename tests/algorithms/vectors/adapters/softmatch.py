"""SoftMatch, step after step on given logits."""

from cissl.testing import make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, loss_level_step, tensor

STATE = {
    "p_model": "p_model",
    "p_target": "p_target",
    "confidence_mean": "prob_max_mu",
    "confidence_variance": "prob_max_var",
}


def run(case, dtype):
    params = case.hyper
    method = make_method(
        "softmatch",
        ema_p=params["ema_p"],
        n_sigma=params["n_sigma"],
        dist_uniform=params["dist_uniform"],
        per_class=params["per_class"],
        wu=params["lambda_u"],
        temperature=0.0 if params["hard_label"] else params["T"],
    )
    facts = make_facts(classes=case.fields["C"], dtype=dtype)
    given = {name: f"init/{role}" for name, role in STATE.items() if f"init/{role}" in case.inputs}
    state = {**method.state(facts), **{name: tensor(case.inputs[role], dtype) for name, role in given.items()}}
    collected = Collected()
    for t in range(case.number_of_steps()):
        step, losses, gradients = loss_level_step(case, t, method, facts, state, dtype)
        state = step.after
        collected.add(
            {
                "loss_labeled": losses.labeled_sum,
                "loss_unlabeled": losses.unlabeled["unlabeled"],
                "loss_total": losses.total,
                "weights": losses.pseudo.weights,
                "targets_unlabeled": losses.pseudo.classes if params["hard_label"] else losses.pseudo.probabilities,
                "aligned_probs": step.shared["aligned"],
                **{role: state[name] for name, role in STATE.items()},
                **gradients,
            }
        )
    return collected.result()
