"""FixMatch + TRAS, with two strong views."""

import torch

from cissl.algorithms.contract import Outputs
from cissl.algorithms.tras.transfer import strengths
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import gradient, tensor, with_two_strong_views

VIEWS = {"labeled": "x", "weak": "weak", "strong": "strong1", "strong2": "strong2"}


def run(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    assert hyper["T"] == 1, "the description gives no other temperature"
    settings = {"A": hyper["A"], "B": hyper["B"], "tro": hyper["tro"], "confidence": hyper["tau"]}
    settings["warmup"] = hyper["warmup_epochs"] + 1  # epochs count as steps
    method = make_method(
        "fixmatch+tras", confidence=hyper["tau"], **{f"tras.{name}": value for name, value in settings.items()}
    )
    with_two_strong_views(method)
    counts = tensor(inputs["class_counts"], torch.float64)
    facts = make_facts(classes=len(counts), labeled_counts=counts.long(), steps=10**6, dtype=dtype)

    features = {view: tensor(inputs[f"features_{name}"], dtype, gradient=True) for view, name in VIEWS.items()}
    roles = ("weight", "bias", "weight_second", "bias_second")
    heads = {role: tensor(inputs[role], dtype, gradient=True) for role in roles}
    outputs = {
        view: Outputs(
            f @ heads["weight"].T + heads["bias"], f, {"tras": f @ heads["weight_second"].T + heads["bias_second"]}
        )
        for view, f in features.items()
    }
    step = CannedStep(method, facts, outputs, tensor(inputs["labels"], dtype), number=hyper["epoch"])
    losses = step.run()
    losses.total.backward()
    adjustment = method.add_ons[0].adjustment(facts)
    second = [losses.unlabeled.get(f"tras.{name}", torch.zeros(())) for name in ("labeled", "unlabeled")]
    return {
        "log_prior": adjustment,
        "strength": strengths(adjustment, hyper["A"], hyper["B"]),
        "pseudo_label": losses.pseudo.classes,
        "mask": losses.pseudo.weights,
        "kept": losses.pseudo.weights.sum(),
        "mask_second": step.shared.get("tras.kept"),
        "transfer_target": step.shared.get("tras.targets"),
        "loss_x": losses.labeled_sum,
        "loss_u": losses.unlabeled["unlabeled"],
        "loss_second_x": second[0],
        "loss_second_u": second[1],
        "loss_second": sum(second),
        "loss": losses.total,
        **{f"grad_features_{name}": gradient(features[view]) for view, name in VIEWS.items()},
        **{f"grad_{role}": gradient(leaf) for role, leaf in heads.items()},
    }
