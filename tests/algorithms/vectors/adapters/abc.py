"""FixMatch + ABC, with two strong views."""

import torch

from cissl.algorithms.abc.balance import keep_rates, ramped
from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import gradient, tensor, with_two_strong_views


def run(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    method = make_method("fixmatch+abc", confidence=hyper["tau"], **{"abc.weight": hyper["loss_weight_abc"]})
    with_two_strong_views(method)
    counts = tensor(inputs["class_counts"], torch.float64)
    facts = make_facts(classes=len(counts), labeled_counts=counts.long(), steps=hyper["ramp_epochs"], dtype=dtype)
    names = {"labeled": "x", "weak": "weak", "strong": "strong1", "strong2": "strong2"}
    features = {view: tensor(inputs[f"features_{name}"], dtype, gradient=True) for view, name in names.items()}
    heads = {name: tensor(inputs[name], dtype, gradient=True) for name in ("weight", "bias", "weight_abc", "bias_abc")}
    outputs = {
        view: Outputs(f @ heads["weight"].T + heads["bias"], f, {"abc": f @ heads["weight_abc"].T + heads["bias_abc"]})
        for view, f in features.items()
    }
    draws = [tensor(inputs[name], dtype).bool() for name in ("draw_x", "draw_u")]
    step = CannedStep(
        method, facts, outputs, tensor(inputs["labels"], dtype), number=hyper["epoch"], draws={"abc": draws}
    )
    losses = step.run()
    losses.total.backward()
    balanced = outputs["weak"].head("abc").detach().softmax(1)
    rates = keep_rates(facts.labeled_counts)
    return {
        "keep_probability_x": rates[step.targets],
        "keep_probability_u": ramped(rates, step.progress)[balanced.argmax(1)],
        "pseudo_label": losses.pseudo.classes,
        "mask": losses.pseudo.weights,
        "pseudo_label_abc": balanced.argmax(1),
        "mask_abc": balanced.amax(1) >= method.add_ons[0].settings.confidence,
        "loss_x": losses.labeled["labeled"],
        "loss_u": losses.unlabeled["unlabeled"],
        "loss_abc_x": losses.unlabeled["abc.labeled"],
        "loss_abc_u": losses.unlabeled["abc.unlabeled"],
        "loss": losses.total,
        **{f"grad_features_{name}": gradient(features[view]) for view, name in names.items()},
        **{f"grad_{name}": gradient(leaf) for name, leaf in heads.items()},
    }
