"""FixMatch + CoSSL with two strong views in its second phase; the beginning of that phase part by part."""

import numpy as np
import torch

from cissl.algorithms.contract import Outputs
from cissl.algorithms.cossl.method import BALANCED
from cissl.algorithms.cossl.second_head import fresh, logits, stepped
from cissl.algorithms.cossl.tail_features import balanced_set, imprinted, mix_chances
from cissl.testing import CannedDraws, CannedStep, make_facts, make_method
from tests.algorithms.vectors.adapters import Collected, gradient, tensor, with_two_strong_views

VIEWS = {"labeled": "x", "strong": "strong1", "strong2": "strong2"}


def run(case, dtype):
    kinds = {
        "warmup_features": run_features,
        "warmup_head": run_head,
        "sampler": run_sampler,
        "sequence": run_sequence,
    }
    return kinds[case.kind](case, dtype)


def run_features(case, dtype):
    inputs = case.inputs
    labeled, weak, strong = (
        tensor(inputs[f"features_{role}"], dtype) for role in ("labeled", "unlabeled_weak", "unlabeled_strong")
    )
    targets, counts = tensor(inputs["labels"], dtype), inputs["class_counts"]
    weights = imprinted(labeled, targets, len(counts))
    probabilities = (torch.cat([labeled, weak]) @ weights.T).softmax(1)
    made = [m for m in max(counts) - counts if m]
    draws = (
        CannedDraws(np.split(np.array(inputs[role]).astype(kind), np.cumsum(made)[:-1]))
        for role, kind in (("draw_row", np.int64), ("draw_lambda", np.float64))
    )
    features, classes = balanced_set(labeled, targets, strong, probabilities, *draws)
    return {"imprinted_weight": weights, "balanced_features": features, "balanced_labels": classes}


def head_of(inputs, dtype, name="head"):
    """Weights, and bias in the last column."""
    weight, bias = (tensor(inputs[f"{name}_{part}"], dtype) for part in ("weight", "bias"))
    return torch.cat([weight, bias[:, None]], 1)


def parts_of(head):
    """The new head and its average, under the names of the outputs."""
    tensors = {"new_head": head.weights, "new_head_ema": head.average}
    return {
        f"{name}_{part}": value[:, :-1] if part == "weight" else value[:, -1]
        for name, value in tensors.items()
        for part in ("weight", "bias")
    }


def hyper_of(hyper):
    assert (hyper["adam_betas"], hyper["adam_eps"]) == ("0.9, 0.999", 1e-8)
    return {"lr": hyper["lr_head"], "weight_decay": hyper["weight_decay_head"], "decay": hyper["ema_decay_head"]}


def run_head(case, dtype):
    head, collected = fresh(head_of(case.inputs, dtype)), Collected()
    for number, moment in enumerate(case.steps):
        features, targets = (tensor(moment.inputs[name], dtype) for name in ("features", "labels"))
        head, loss = stepped(head, features, targets, number=number, **hyper_of(case.hyper))
        collected.add({"loss": loss, **parts_of(head)})
    return collected.result()


def run_sampler(case, dtype):
    counts, labels = case.inputs["class_counts"], case.inputs["labels"]
    facts = make_facts(classes=len(counts), labeled_counts=counts)
    weights = make_method("fixmatch+cossl").streams(facts)[BALANCED].weights(labels)
    mass = np.bincount(labels, weights=weights, minlength=len(counts))
    return {"row_weights": weights, "draws_per_epoch": facts.labeled, "class_mass": mass}


def run_sequence(case, dtype):
    hyper, inputs = case.hyper, case.inputs
    settings = hyper_of(hyper)
    method = make_method(
        "fixmatch+cossl",
        confidence=hyper["tau"],
        **{
            "cossl.max_lam": hyper["max_lam"],
            "cossl.lr": settings["lr"],
            "cossl.wd_tfe": settings["weight_decay"],
            "cossl.ema_decay": settings["decay"],
        },
    )
    with_two_strong_views(method)
    counts, width = inputs["class_counts"], inputs["weight"].shape[1]
    facts = make_facts(classes=len(counts), labeled_counts=counts, width=width, dtype=dtype)
    head = fresh(head_of(inputs, dtype), head_of(inputs, dtype, "head_ema"))
    state = method.state(facts) | {f"cossl.{name}": value for name, value in head._asdict().items()}
    chances, collected = mix_chances(facts.labeled_counts), Collected()
    for number, moment in enumerate(case.steps):
        given, before = moment.inputs, state
        features = {view: tensor(given[f"features_{role}"], dtype, gradient=True) for view, role in VIEWS.items()}
        own = {name: tensor(inputs[name], dtype, gradient=True) for name in ("weight", "bias")}
        outputs = {view: Outputs(f @ own["weight"].T + own["bias"], f) for view, f in features.items()}
        weak, balanced, other = (
            tensor(given[role], dtype) for role in ("features_ema_weak", "balanced_features", "other_features")
        )
        classes, lowest = tensor(given["balanced_labels"], dtype), hyper["max_lam"]
        places = (np.array(given["draw_lambda"], np.float64) - lowest) / (1 - lowest)
        step = CannedStep(
            method,
            facts,
            outputs | {"weak": Outputs(torch.zeros(len(weak), facts.classes, dtype=dtype))},
            tensor(given["labels"], dtype),
            state=state,
            stage=1,
            stage_number=number,
            labels={BALANCED: classes},
            networks=[Outputs(torch.zeros(0), torch.cat([weak, balanced, other]))],
            draws={
                "cossl.mix": [torch.from_numpy(np.array(given["draw_mix"])) < chances[classes]],
                "cossl.lambda": [places],
            },
        )
        losses = step.run()
        losses.total.backward()
        state = step.after
        collected.add(
            {
                "inputs/head_weight": before["cossl.weights"][:, :-1],
                "inputs/head_bias": before["cossl.weights"][:, -1],
                "teacher_logits_weak": logits(before["cossl.weights"], weak),
                "pseudo_label": losses.pseudo.classes,
                "mask": losses.pseudo.weights,
                "mixed_features": step.shared["cossl.mixed"],
                "loss_head": step.measured["cossl.loss"],
                "loss_x": losses.labeled["labeled"],
                "loss_u": losses.unlabeled["unlabeled"],
                **{f"grad_features_{role}": gradient(features[view]) for view, role in VIEWS.items()},
                **{f"grad_{name}": gradient(leaf) for name, leaf in own.items()},
                **parts_of(type(head)(*(state[f"cossl.{name}"] for name in head._fields))),
            }
        )
    return collected.result() | {"inputs/mix_probability": chances}
