"""FixMatch + CReST or CReST+: its steps, and the images that its next generation counts as labeled."""

import numpy as np
import torch

from cissl.algorithms.contract import Outputs
from cissl.algorithms.crest.rebalancing import added_shares, class_distribution, class_lists, picked
from cissl.testing import CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor

VIEWS = {"labeled": "x", "weak": "weak", "strong": "strong"}


def run(case, dtype):
    return run_steps(case, dtype) if case.kind == "step" else run_next_generation(case, dtype)


def facts_of(case, dtype, **changes):
    """Classes stand from the most to the least frequent one; γ gives the distribution."""
    classes = len(case.inputs["gt_distribution"])
    return make_facts(classes=classes, labeled_counts=range(classes, 0, -1), dtype=dtype, **changes)


def run_steps(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    plus = hyper["distribution_alignment"]
    settings = {
        "crest.num_generation": hyper["num_generation"],
        "crest.gamma": 1 / hyper["imbalance_ratio"],
        "crest.temperature": hyper["temperature"],
        "crest.reweight_labeled": hyper["reweight_labeled"],
        "crest.unsup_loss_divisor": hyper["unsup_loss_divisor"],
    }
    if plus:
        settings |= {"crest.how_dalign": hyper["how_dalign"] or "labels", "crest.dalign_t": hyper["dalign_t"]}
    name = "fixmatch+crest+" if plus else "fixmatch+crest"
    method = make_method(name, confidence=hyper["threshold"], wu=hyper["weight_unsup"], **settings)
    facts = facts_of(case, dtype)
    state = method.state(facts)
    for role, start in (("p_model", "initial_p_model_buffer"), ("p_data", "initial_p_data")):
        given = tensor(inputs[start], torch.float64).to(dtype)
        state[f"crest.{role}"] = given.expand_as(state[f"crest.{role}"]).clone()
    distribution = class_distribution(state["crest.counts"], method.add_ons[0].settings.gamma)
    np.testing.assert_allclose(distribution, inputs["gt_distribution"], atol=1e-6)
    collected = Collected()
    for moment in case.steps:
        leaves = {view: tensor(moment.inputs[f"logits_{role}"], dtype, gradient=True) for view, role in VIEWS.items()}
        targets = tensor(moment.inputs["labels"], dtype)
        step = CannedStep(method, facts, leaves, targets, state=state, stage=hyper["generation"])
        losses = step.run()
        losses.total.backward()
        before, state = state, step.after
        collected.add(
            {
                "inputs/p_model": normalised(before["crest.p_model"].mean(0)),
                "inputs/p_data": normalised(before["crest.p_data"]),
                "pseudo_target": pseudo_target(losses.pseudo, hyper["temperature"]),
                "mask": losses.pseudo.weights,
                "loss_x": losses.labeled["labeled"],
                "loss_u": losses.unlabeled["unlabeled"],
                "loss": losses.total,
                **{f"grad_{role}": gradient(leaves[view]) for view, role in VIEWS.items()},
                "new_p_model": normalised(state["crest.p_model"].mean(0)),
                "new_p_data": normalised(state["crest.p_data"]),
            }
        )
    return {
        **collected.result(),
        "final_p_model_buffer": state["crest.p_model"],
        "final_p_data": state["crest.p_data"],
    }


def pseudo_target(pseudo, temperature):
    if temperature:
        return normalised(pseudo.probabilities ** (1 / temperature))
    return torch.nn.functional.one_hot(pseudo.classes, pseudo.probabilities.shape[1])


def normalised(weights):
    return weights / weights.sum(-1, keepdim=True)


class Survey:
    """A look at the unlabeled images: `scores` are those of the first; the rest is labeled too, and must not count."""

    def __init__(self, scores, facts):
        self.scores, self.facts, self.stage, self.number = scores, facts, 0, facts.steps

    def outputs(self, images, *, network):
        assert (images, network) == ("unlabeled", "average")
        others = torch.full((self.facts.unlabeled - len(self.scores), self.scores.shape[1]), 2.0)
        outputs = Outputs(torch.zeros(0))
        outputs.probabilities = torch.cat([self.scores, others.to(self.scores.dtype)])
        return outputs


def run_next_generation(case, dtype):
    """The unlabeled set is the given rows, then the labeled images, as both are in the authors' one training set."""
    hyper, inputs = case.hyper, case.inputs
    settings = {
        "crest.alpha": hyper["alpha"],
        "crest.gamma": 1 / hyper["imbalance_ratio"],
        "crest.update_mode": hyper["update_mode"],
    }
    method = make_method("fixmatch+crest", **settings)
    scores = torch.from_numpy(np.array(inputs["scores"]))
    unlabeled, labeled = (tensor(inputs[f"{kind}_indices"], dtype) for kind in ("unlabeled", "labeled"))
    too = torch.arange(len(unlabeled) + len(labeled)) >= len(unlabeled)
    facts = facts_of(case, dtype, unlabeled=len(too), labeled_too=too)
    state = method.between(Survey(scores, facts), method.state(facts))
    positions, classes = method.extra_labeled(state)
    lists = class_lists(scores, torch.ones(len(scores), dtype=torch.bool))
    counts = state["crest.counts"].tolist()
    shares = added_shares(counts, hyper["alpha"], method.add_ons[0].settings.gamma)
    lengths = [len(rows) for rows in (lists if hyper["update_mode"] == "all" else picked(lists, shares))]
    assert lengths == torch.bincount(classes, minlength=len(counts)).tolist()
    return {
        "class_lists_concatenated": torch.cat(lists),
        "class_list_lengths": np.array([len(rows) for rows in lists]),
        "picked_per_class": np.array(lengths),
        "new_labeled_indices": torch.cat([unlabeled[positions], labeled]),
        "new_labels": torch.cat([classes, tensor(inputs["true_labels"], dtype)[labeled]]),
        "inputs/gt_distribution": class_distribution(state["crest.counts"], method.add_ons[0].settings.gamma),
    }
