"""FixMatch + Adsh: its thresholds by a survey of given logits, and its loss."""

import numpy as np
import torch

from cissl.algorithms.adsh.adaptive_thresholds import rectified
from cissl.algorithms.contract import Outputs
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor


class Survey:
    """A look at the raw network's weak views, whose logits are given."""

    def __init__(self, logits, facts):
        self.logits, self.facts, self.stage, self.number = logits, facts, 0, 2

    def outputs(self, images, *, network, augment):
        assert (images, network, augment) == ("unlabeled", "raw", "weak")
        return Outputs(self.logits)


def run(case, dtype):
    return run_thresholds(case, dtype) if case.kind == "threshold_update" else run_loss(case, dtype)


def run_thresholds(case, dtype):
    classes = np.shape(case.steps[0].inputs["logits_weak_all"])[1]
    method = make_method("fixmatch+adsh", confidence=case.hyper["threshold"], **{"adsh.epoch": 1})
    facts = make_facts(classes=classes, steps=100, dtype=dtype)
    state = method.state(facts)
    collected = Collected()
    for moment in case.steps:
        logits = tensor(moment.inputs["logits_weak_all"], dtype)
        before = state["adsh.score"]
        state = {**state, **method.periodically(2, Survey(logits, facts), state, facts)}
        collected.add(
            {
                "inputs/score": before,
                "predicted_per_class": torch.bincount(logits.argmax(1), minlength=classes),
                "new_score": state["adsh.score"],
            }
        )
    return collected.result()


def run_loss(case, dtype):
    weak, strong = (tensor(case.inputs[f"logits_{view}"], dtype, gradient=True) for view in ("weak", "strong"))
    method = make_method("fixmatch+adsh", confidence=case.hyper["threshold"])
    facts = make_facts(classes=weak.shape[1], dtype=dtype)
    score = tensor(case.inputs["score"], torch.float64)
    outputs = {"labeled": torch.zeros(1, weak.shape[1], dtype=dtype), "weak": weak, "strong": strong}
    state = {**method.state(facts), "adsh.score": score}
    losses = CannedStep(method, facts, outputs, torch.tensor([0]), state=state).run()
    losses.total.backward()
    return {
        "rectified": rectified(losses.pseudo.probabilities, score),
        "pseudo_label": losses.pseudo.classes,
        "mask": losses.pseudo.weights,
        "loss_u": losses.unlabeled["unlabeled"],
        "grad_strong": gradient(strong),
        "grad_weak": gradient(weak),
    }
